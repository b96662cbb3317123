"""Losses by number: values worked out by hand or by other implementations, and identities between losses."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.config.check import check
from rerankbench.errors import ConfigError, tell_place
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
from tests.training.losses.cases import lists, one_list, values_of

LISTS = [
    one_list([2, 1, 0], [1, 0, 0]),
    one_list([0.5, -1, 2, 0], [2, 0, 1, 1]),
    one_list([1, 0], [1, 0]),
]

TABLE: list[tuple[str, Loss, list[float]]] = [
    ("hinge", Hinge(), [0, 3, 0]),
    ("softmax pair", SoftmaxPair(), [0.3881443434, 1.6939079633, 0.2689414214]),
    ("RankNet", RankNet(), [0.4401896986, 2.7387525792, 0.3132616875]),
    ("ListNet", ListNet(), [1.0434306373, 1.7542318813, 0.5822031089]),
    ("softmax CE", SoftmaxCrossEntropy(), [0.4076059644, 1.5923495824, 0.3132616875]),
    (
        "ListMLE stable",
        ListMLE(ties="stable", drop_last_group=False),
        [0.7208676520, 2.3254572895, 0.3132616875],
    ),
    ("ListMLE average", ListMLE(drop_last_group=False), [2.0341293395, 4.1820416215, 0.3132616875]),
    (
        "p-ListMLE stable",
        PositionAwareListMLE(ties="stable", drop_last_group=False, normalise=False),
        [1.5360795809, 13.7192468229, 0.3132616875],
    ),
    ("LambdaRank", LambdaLoss(), [0.1790795737, 0.3753157153, 0.1156155682]),
    ("NDCGLoss1", LambdaLoss(scheme="ndcg_loss1"), [0.4401896986, 1.5935975360, 0.3132616875]),
    ("NDCGLoss2", LambdaLoss(scheme="ndcg_loss2"), [0.1322342214, 0.4366848010, 0.1156155682]),
    ("NDCGLoss2++", LambdaLoss(scheme="ndcg_loss2pp"), [1.5014217879, 4.7421637256, 1.2717712503]),
    (
        "NDCGLoss2++ top 2",
        LambdaLoss(scheme="ndcg_loss2pp", k=2, top="both"),
        [1.2717712503, 3.8047286312, 1.2717712503],
    ),
    ("ApproxNDCG", ApproxNDCG(), [-0.7962480549, -0.7364377569, -0.8460098300]),
    ("ApproxNDCG sharp", ApproxNDCG(temperature=0.1), [-0.9999672523, -0.8205315074, -0.9999672538]),
    ("LCE each", LocalizedContrastive(positives="each"), [0.4076059644, 0.5632623171, 0.3132616875]),
]


@pytest.mark.parametrize(("loss", "expected"), [row[1:] for row in TABLE], ids=[row[0] for row in TABLE])
def test_values_of_three_lists(loss: Loss, expected: list[float]) -> None:
    for data, value in zip(LISTS, expected, strict=True):
        assert data.sums(loss).item() == pytest.approx(value, abs=1e-8)


def test_binary_cross_entropy() -> None:
    for data, value in zip(LISTS, [2.1333368791, 1.1074138633, 1.0064088681], strict=True):
        # The table takes a label of 2 as it is; half the labels leave half of Σ s·y out.
        half = data.sums(BinaryCrossEntropy(threshold=None, highest=2.0)) - (data.scores * data.labels / 2).sum(1)
        assert half.item() == pytest.approx(value, abs=1e-8)
    relevant = [row.sigmoid().log() for row in (LISTS[1].scores, -LISTS[1].scores)]
    assert LISTS[1].values(BinaryCrossEntropy(threshold=2.0))[0, 0] == pytest.approx(-relevant[0][0, 0].item())
    assert LISTS[1].values(BinaryCrossEntropy(threshold=2.0))[0, 2] == pytest.approx(-relevant[1][0, 2].item())


def test_a_label_above_the_highest_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^highest: is 1\.0, but there is a label 2"):
        LISTS[1].values(BinaryCrossEntropy(threshold=None))


def test_mean_squared_error() -> None:
    assert LISTS[1].values(MeanSquaredError()).tolist() == [[2.25, 1, 1, 1]]


def test_distillation() -> None:
    taught = one_list([2, 1, 0], [1, 0, 0], teacher=[3, 0, -1])
    values = taught.values(MarginMSE())
    assert values[0, 0].tolist() == [0, 4, 4]
    assert values.sum() == 8
    assert taught.values(MarginMSE(pairs="all"))[0, 1].tolist() == [4, 0, 0]
    assert taught.values(KL()).item() == pytest.approx(0.2142011644, abs=1e-8)
    assert taught.values(KL(temperature=2.0)).item() == pytest.approx(0.4401547309, abs=1e-8)
    assert one_list([2, 1], [1, 0], [3, 0]).values(KL(temperature=2.0)).item() == pytest.approx(0.36095, abs=1e-5)


@pytest.mark.parametrize(
    ("scores", "ranks", "expected"),
    [
        ([2, 1, 0], [1, 2, 3], 0.2259840470),
        ([2, 1, 0], [3, 2, 1], 3.8971179866),
        ([0.5, -1, 2, 0], [1, 4, 2, 3], 2.2980591116),
    ],
)
def test_rank_mse(scores: list[float], ranks: list[float], expected: float) -> None:
    data = one_list(scores, [0] * len(scores), [-rank for rank in ranks])
    assert data.sums(ApproxDiscountedRankMSE()).item() == pytest.approx(expected, abs=1e-8)


def test_symmetric_divergence_is_zero_only_where_the_two_agree() -> None:
    loss = SymmetricKL(temperature=0.02, teacher_temperature=0.1)
    agreeing = one_list([0.1, 0.14, 0.2], [0, 0, 1], [0.5, 0.7, 1.0])
    assert agreeing.values(loss).item() == pytest.approx(0, abs=1e-12)
    assert one_list([0.1, 0.2, 0.2], [0, 0, 1], [0.5, 0.7, 1.0]).values(loss).item() > 0.1


@pytest.mark.parametrize("loss", [MarginMSE(), KL(), SymmetricKL(), ApproxDiscountedRankMSE()])
def test_a_missing_teacher_is_named(loss: Loss) -> None:
    tell_place(own := replace(loss), "recipe.stages.sft.loss")  # type: ignore[type-var]
    with pytest.raises(ConfigError, match=r"^recipe\.stages\.sft\.loss: needs the scores of a teacher"):
        values_of(own, LISTS[0].scores, LISTS[0].labels, LISTS[0].mask)


@pytest.mark.parametrize("n", [2, 5, 9])
def test_equal_scores(n: int) -> None:
    data = one_list([3.0] * n, [1.0] + [0.0] * (n - 1), [1.0] * n)
    for loss in (LocalizedContrastive(), SoftmaxCrossEntropy(), ListMLE(), LocalizedContrastive(positives="mass")):
        assert data.values(loss).item() == pytest.approx(math.log(n))
    assert data.values(RankNet()).max().item() == pytest.approx(math.log(2))
    assert data.values(ApproxDiscountedRankMSE()).abs().max().item() == pytest.approx(0)  # (n + 1)/2 on both sides


@given(seed=st.integers(0, 10**6), progress=st.floats(0, 1), gap=st.floats(-5, 5))
def test_two_candidates_are_one_comparison(seed: int, progress: float, gap: float) -> None:
    data = one_list([gap, 0.0], [1.0, 0.0])
    expected = math.log1p(math.exp(-gap))
    for loss in (RankNet(), RankList(), RankList(form="lse"), ListMLE(), LocalizedContrastive(), SoftmaxCrossEntropy()):
        assert data.values(loss, progress=progress).sum().item() == pytest.approx(expected)


@given(seed=st.integers(0, 10**6))
def test_one_relevant_candidate_makes_the_list_losses_one(seed: int) -> None:
    data = lists(seed)
    labels = torch.zeros_like(data.labels)
    labels[:, 1] = 1.0
    expected = values_of(LocalizedContrastive(), data.scores, labels, data.mask)
    others: list[Loss] = [
        ListMLE(),
        SoftmaxCrossEntropy(),
        LocalizedContrastive(positives="each"),
        LocalizedContrastive(positives="mass"),
        RankList(form="lse"),
    ]
    for loss in others:
        torch.testing.assert_close(values_of(loss, data.scores, labels, data.mask), expected)


def test_several_relevant_candidates() -> None:
    data = one_list([1.0, 2.0, 0.0], [1.0, 1.0, 0.0])
    first, second = math.log1p(math.exp(-1.0)), math.log1p(math.exp(-2.0))
    assert data.values(LocalizedContrastive()).item() == pytest.approx(first)
    assert data.values(LocalizedContrastive(positives="each")).item() == pytest.approx(first + second)
    mass = math.log((math.e + math.e**2 + 1) / (math.e + math.e**2))
    assert data.values(LocalizedContrastive(positives="mass")).item() == pytest.approx(mass)
    assert data.values(LocalizedContrastive(temperature=0.5)).item() == pytest.approx(second)


def test_ranknet_s_ties_and_weights() -> None:
    tied = one_list([2.0, 1.0, 0.0], [1.0, 1.0, 0.0]).values(RankNet(tie_half=True))
    assert tied[0, 0, 1].item() == pytest.approx((math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2)
    assert tied[0, 1, 0] == 0
    weighted = one_list([2.0, 1.0, 0.0], [3.0, 2.0, 1.0]).values(RankNet(rank_weighted=True))
    assert weighted.sum().item() / 3 == pytest.approx(0.066268, abs=1e-6)


def test_sigma_scales_the_gap() -> None:
    data = one_list([1.0, 0.0], [1.0, 0.0])
    expected = math.log1p(math.exp(-3.0))
    assert data.values(RankNet(sigma=3.0)).sum().item() == pytest.approx(expected)
    assert data.values(LambdaLoss(sigma=3.0)).sum().item() == pytest.approx((1 - 1 / math.log2(3)) * expected)


def test_lambda_s_top() -> None:
    data = one_list([3.0, 2.0, 1.0, 0.0], [0.0, 0.0, 1.0, 2.0])
    either = data.values(LambdaLoss(k=1))[0] > 0
    assert [tuple(cell) for cell in either.nonzero().tolist()] == [(2, 0), (3, 0)]
    assert not data.values(LambdaLoss(k=1, top="both")).any()


@pytest.mark.parametrize("loss", [LambdaLoss(), LambdaLoss(scheme="ndcg_loss1"), ApproxNDCG()])
def test_grades_beyond_the_powers_of_float32(loss: Loss) -> None:
    scores, mask = torch.tensor([[0.5, 1.0, 0.2]]), torch.ones(1, 3, dtype=torch.bool)
    values = [
        values_of(loss, scores, torch.tensor([labels]), mask) for labels in ([100.0, 1.0, 0.0], [1000.0, 1.0, 0.0])
    ]
    assert values[1].isfinite().all()
    torch.testing.assert_close(values[0], values[1])


def test_random_ties_are_drawn_anew_and_follow_the_seed() -> None:
    data, loss = one_list([2, 1, 0], [1, 0, 0]), ListMLE(ties="random", drop_last_group=False)
    torch.manual_seed(0)
    drawn = [round(data.values(loss).item(), 6) for _ in range(40)]
    assert set(drawn) == {0.720868, 1.720868}
    torch.manual_seed(0)
    assert [round(data.values(loss).item(), 6) for _ in range(40)] == drawn


def test_long_lists_do_not_overflow_the_position_weights() -> None:
    labels = torch.arange(400.0)[None, :]
    scores, mask = torch.zeros(1, 400), torch.ones(1, 400, dtype=torch.bool)
    value = values_of(PositionAwareListMLE(), scores, labels, mask).item()
    assert 0 < value < math.log(400)
    with pytest.raises(ConfigError, match=r"^normalise"):
        values_of(PositionAwareListMLE(normalise=False), scores, labels, mask)


@given(seed=st.integers(0, 10**6))
def test_normalised_position_weights_sum_to_one(seed: int) -> None:
    data = lists(seed)
    sizes = data.mask.sum(1).double()
    totals = 2**sizes - 1 - sizes  # Σ 2^(n-i) - 1
    raw = data.values(PositionAwareListMLE(normalise=False))
    torch.testing.assert_close(data.values(PositionAwareListMLE()) * totals, raw)


def test_ties_share_their_position_weights() -> None:
    data = one_list([0.0, 0.0, 0.0], [1.0, 1.0, 0.0])  # weights 3, 1, 0 → 2, 2, 0
    assert data.values(PositionAwareListMLE(normalise=False)).item() == pytest.approx(4 * math.log(3))


def test_rank_list_s_terms_grow_with_progress() -> None:
    data = one_list([2, 1, 0], [2, 1, 0])
    near, far = math.log1p(math.exp(-1)), math.log1p(math.exp(-2))
    loss = RankList()
    assert data.values(loss, progress=0.0).item() == pytest.approx(near)
    assert data.values(loss, progress=0.24).item() == pytest.approx(near)
    assert data.values(loss, progress=0.25).item() == pytest.approx((2 * near + far) / 3)
    assert 3 * data.values(loss).item() == pytest.approx(0.7535, abs=5e-5)
    assert data.values(RankList(max_skip=1)).item() == pytest.approx(near)
    assert 3 * data.values(RankList(skip_weight=0.5)).item() == pytest.approx(2 * near + far / 2)
    assert 2 * data.values(RankList(form="lse")).item() == pytest.approx(0.7208676520, abs=1e-8)


def test_rank_list_s_neighbours_of_tied_labels_are_the_next_level() -> None:
    data = one_list([0.0, 1.0, 0.5, 3.0], [3, 1, 1, 0])
    near = [math.log1p(math.exp(gap)) for gap in (1.0, 0.5, 2.0, 2.5)]
    assert data.values(RankList(max_skip=1)).item() == pytest.approx(sum(near) / 4)
    assert data.values(RankList(max_skip=2)).item() == pytest.approx((sum(near) + math.log1p(math.exp(3))) / 5)


@given(seed=st.integers(0, 10**6))
def test_rank_list_with_all_skips_and_no_ties_is_list_mle_and_bounded_by_its_sum(seed: int) -> None:
    data = lists(seed)
    labels = torch.arange(data.mask.shape[1]).double().expand_as(data.scores)
    rows = (data.scores, labels, data.mask)
    sizes = data.mask.sum(1)
    expected = values_of(ListMLE(), *rows)
    torch.testing.assert_close(values_of(RankList(form="lse", max_skip=10), *rows) * (sizes - 1), expected)
    pairs = sizes * (sizes - 1) / 2
    assert (values_of(RankList(max_skip=10), *rows) * pairs >= expected - 1e-9).all()


def test_brio_s_margins() -> None:
    assert one_list([0, 0, 0], [3, 2, 1]).values(Brio(margin=0.1)).item() == pytest.approx(0.3)
    assert one_list([2, 1, 0], [3, 2, 1]).values(Brio(margin=0.1)).item() == 0
    # Distance 1: one of two pairs is short by 1.1; distance 2: not at all.
    assert one_list([2, 0, 1], [3, 2, 1]).values(Brio(margin=0.1)).item() == pytest.approx(0.55)
    assert one_list([0, 0, 0], [1, 0, 0]).values(Brio(margin=0.1)).item() == pytest.approx(0.1 + 0.2)


@pytest.mark.parametrize(
    ("loss", "field", "value"),
    [
        (BinaryCrossEntropy, "highest", 0.0),
        (Hinge, "margin", 0.0),
        (RankNet, "sigma", -1.0),
        (ListNet, "temperature", 0.0),
        (LocalizedContrastive, "temperature", math.nan),
        (SymmetricKL, "teacher_temperature", 0.0),
        (LambdaLoss, "k", 0),
        (LambdaLoss, "mu", 0.0),
        (RankList, "max_skip", 0),
        (RankList, "skip_weight", 0.0),
        (Brio, "margin", -1.0),
    ],
)
def test_values_out_of_bounds_are_refused(loss: type[Loss], field: str, value: float) -> None:
    name = f"{loss.__module__}.{loss.__name__}"
    with pytest.raises(ConfigError, match=rf"^loss\.{field}: must be (above 0|at least 1), got {value}"):
        check({"_target_": name, field: value}, "loss")
