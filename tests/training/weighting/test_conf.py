"""The option files of weightings say what the classes say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.config.options import conf_folder, description
from rerankbench.training.weighting.cet import CET
from rerankbench.training.weighting.curriculum import Curriculum
from rerankbench.training.weighting.dynamic import LossReweighting

FILES = sorted(f for f in (conf_folder() / "recipe" / "weighting").glob("*.yaml") if f.stem != "none")
DIFFERENCES = {
    "cet": CET(),
    "cet_ipw": CET(variant="ipw"),
    "cet_released": CET(variant="released", temperature=10.0, clip=None, mean_one=False),
    "curriculum_kde": Curriculum(difficulty="kde"),
    "curriculum_normscore": Curriculum(difficulty="normscore"),
    "curriculum_reciprank": Curriculum(),
    "extremes": LossReweighting(strategy="extremes"),
    "linupper": LossReweighting(),
    "quadratic": LossReweighting(strategy="quadratic"),
}


def test_every_file_is_known() -> None:
    assert [file.stem for file in FILES] == sorted(DIFFERENCES)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_parameter_stands_there_at_its_default(file: Path) -> None:
    written = OmegaConf.merge({"seed": 0}, {"weighting": OmegaConf.load(file)})
    node = OmegaConf.to_container(written, resolve=True)["weighting"]  # type: ignore[index,call-overload]
    weighting = build(check(node, "weighting"), "weighting")
    assert weighting == DIFFERENCES[file.stem]
    assert set(node) - {"_target_"} == {field.name for field in dataclasses.fields(weighting) if field.init}
    assert description(file)
