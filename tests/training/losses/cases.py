"""Every loss in its variants, and the lists that the tests share."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rerankbench.training.losses.approx_ndcg import ApproxNDCG
from rerankbench.training.losses.brio import Brio
from rerankbench.training.losses.contrastive import LocalizedContrastive
from rerankbench.training.losses.distillation import KL, ApproxDiscountedRankMSE, MarginMSE, SymmetricKL
from rerankbench.training.losses.lambda_rank import LambdaLoss
from rerankbench.training.losses.list_mle import ListMLE, PositionAwareListMLE
from rerankbench.training.losses.loss import Loss
from rerankbench.training.losses.pairwise import Hinge, RankNet, SoftmaxPair
from rerankbench.training.losses.pointwise import BinaryCrossEntropy, MeanSquaredError
from rerankbench.training.losses.rank_list import RankList
from rerankbench.training.losses.softmax import ListNet, SoftmaxCrossEntropy
from rerankbench.training.losses.unified import Unified
from rerankbench.training.scored import Scored, Values


@dataclass(frozen=True)
class Case:
    """A loss, and which of the common properties it has.

    shift: a constant added to a list's scores changes nothing. ordered: tied labels are ordered by their positions.
    tied: a list of equal labels still counts. differentiable: its gradient is that of its value.
    """

    loss: Loss
    shift: bool = True
    ordered: bool = False
    tied: bool = False
    differentiable: bool = True


CASES = {
    "bce": Case(BinaryCrossEntropy(), shift=False, tied=True),
    "bce_graded": Case(BinaryCrossEntropy(threshold=None, highest=3.0), shift=False, tied=True),
    "mse": Case(MeanSquaredError(), shift=False, tied=True),
    "hinge": Case(Hinge()),
    "softmax_pair": Case(SoftmaxPair()),
    "ranknet": Case(RankNet()),
    "ranknet_tie_half": Case(RankNet(tie_half=True), tied=True),
    "ranknet_weighted": Case(RankNet(rank_weighted=True, sigma=2.0)),
    "listnet": Case(ListNet()),
    "softmax_ce": Case(SoftmaxCrossEntropy()),
    "listmle": Case(ListMLE()),
    "listmle_all_terms": Case(ListMLE(drop_last_group=False)),
    "listmle_stable": Case(ListMLE(ties="stable"), ordered=True),
    "plistmle": Case(PositionAwareListMLE()),
    "plistmle_raw": Case(PositionAwareListMLE(normalise=False, drop_last_group=False)),
    "plistmle_stable": Case(PositionAwareListMLE(ties="stable"), ordered=True),
    "lambdarank": Case(LambdaLoss()),
    "lambdarank_k": Case(LambdaLoss(k=2, sigma=0.5)),
    "ndcg_loss1": Case(LambdaLoss(scheme="ndcg_loss1")),
    "ndcg_loss2": Case(LambdaLoss(scheme="ndcg_loss2")),
    "ndcg_loss2pp": Case(LambdaLoss(scheme="ndcg_loss2pp")),
    "ndcg_loss2pp_both": Case(LambdaLoss(scheme="ndcg_loss2pp", k=2, top="both")),
    "approx_ndcg": Case(ApproxNDCG()),
    "lce_first": Case(LocalizedContrastive(), ordered=True),
    "lce_each": Case(LocalizedContrastive(positives="each")),
    "lce_mass": Case(LocalizedContrastive(positives="mass", temperature=0.5)),
    "margin_mse": Case(MarginMSE()),
    "margin_mse_all": Case(MarginMSE(pairs="all"), tied=True),
    "kl": Case(KL(temperature=2.0), tied=True),
    "symmetric_kl": Case(SymmetricKL(temperature=0.5, teacher_temperature=0.3), tied=True),
    "adr_mse": Case(ApproxDiscountedRankMSE(), tied=True),
    "ranklist": Case(RankList()),
    "ranklist_lse": Case(RankList(form="lse", skip_weight=0.5)),
    "brio": Case(Brio(margin=0.1), ordered=True),
    "unified_sft": Case(Unified(), shift=False, differentiable=False),
    "unified_mixed": Case(Unified(weight="contrastive", direction="sft"), shift=False, differentiable=False),
    "unified_uniform": Case(Unified(weight="uniform", direction="contrastive"), shift=False, differentiable=False),
}


@dataclass(frozen=True)
class Lists:
    """scores, labels, teacher: [B, N] float64; mask: [B, N]."""

    scores: torch.Tensor
    labels: torch.Tensor
    mask: torch.Tensor
    teacher: torch.Tensor

    def results(self, loss: Loss, scores: torch.Tensor | None = None, progress: float = 1.0) -> Values:
        """What the loss returns, at these scores or others."""
        scores = self.scores if scores is None else scores
        return loss(Scored(scores, self.labels, self.mask, self.teacher, progress))

    def values(self, loss: Loss, scores: torch.Tensor | None = None, progress: float = 1.0) -> torch.Tensor:
        """The loss's values, at these scores or others."""
        return self.results(loss, scores, progress).values

    def sums(self, loss: Loss) -> torch.Tensor:
        """Sums of each list's values, [B]."""
        return self.values(loss).reshape(len(self.mask), -1).sum(1)


def lists(seed: int, sizes: tuple[int, ...] = (5, 3, 4, 2, 6), spread: float = 1.5) -> Lists:
    """Random lists of these sizes with graded labels; each has a level above and one below, and scores all apart."""
    generator = torch.Generator().manual_seed(seed)
    shape = (len(sizes), max(sizes))
    mask = torch.arange(shape[1])[None, :] < torch.tensor(sizes)[:, None]
    labels = torch.randint(0, 4, shape, generator=generator).double()
    labels[:, 0], labels[:, 1] = 2.0, 0.0
    order = torch.rand(shape, generator=generator).masked_fill(~mask, 2).argsort(1)
    scores, teacher = (spread * torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    return Lists(scores * mask, labels.gather(1, order) * mask, mask, teacher * mask)


def one_list(scores: list[float], labels: list[float], teacher: list[float] | None = None) -> Lists:
    """One list without padding."""
    rows = [torch.tensor([row], dtype=torch.float64) for row in (scores, labels, teacher or labels)]
    return Lists(rows[0], rows[1], torch.ones_like(rows[0], dtype=torch.bool), rows[2])


def values_of(loss: Loss, scores: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The loss's values without a teacher."""
    return loss(Scored(scores, labels, mask)).values
