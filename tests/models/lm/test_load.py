"""Which language model a configured model becomes."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankbench.errors import ConfigError
from rerankbench.models.endpoint.endpoint import Endpoint
from rerankbench.models.endpoint.language_model import EndpointLM
from rerankbench.models.lm.causal import CausalLM
from rerankbench.models.lm.load import language_model
from rerankbench.models.lm.seq2seq import Seq2SeqLM
from rerankbench.models.lm.vllm import VLLM, VllmLM
from rerankbench.usage import Usage
from tests.models import toy_model
from tests.models.toy_language_model import on_cpu


def test_the_kind_is_the_checkpoints_or_the_models_own(chat_model: str, t5_model: str) -> None:
    usage = Usage()
    models = [on_cpu(chat_model), on_cpu(t5_model), Endpoint(url="http://127.0.0.1:9/v1", name="m"), VLLM(path="x")]
    made = [language_model(model, usage) for model in models]
    assert [type(lm) for lm in made] == [CausalLM, Seq2SeqLM, EndpointLM, VllmLM]
    assert all(lm.usage is usage for lm in made)


def test_an_encoder_is_no_language_model(tmp_path: Path) -> None:
    toy_model.save(tmp_path)
    with pytest.raises(ConfigError, match=r"model: is an encoder \(bert\)"):
        language_model(toy_model.on_cpu(str(tmp_path)), Usage())
