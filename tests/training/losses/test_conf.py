"""The option files say what the classes say."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from rerankbench.config.build import build
from rerankbench.config.options import conf_folder, description
from tests.training.losses.cases import CASES

FILES = sorted((conf_folder() / "recipe" / "loss").glob("*.yaml"))


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_every_parameter_stands_there(file: Path) -> None:
    node = OmegaConf.load(file)
    assert set(node) - {"_target_"} == {field.name for field in dataclasses.fields(build(node, "loss"))}
    assert description(file)


def test_every_loss_has_a_file_with_its_defaults() -> None:
    losses = [build(OmegaConf.load(file), "loss") for file in FILES]
    assert {type(loss) for loss in losses} == {type(case.loss) for case in CASES.values()}
    assert {type(loss) for loss in losses if loss == type(loss)()} == {type(loss) for loss in losses}


def test_every_scheme_of_the_lambda_loss_has_a_file() -> None:
    schemes = {OmegaConf.load(file).get("scheme") for file in FILES} - {None}
    assert schemes == {"lambdarank", "ndcg_loss1", "ndcg_loss2", "ndcg_loss2pp"}
