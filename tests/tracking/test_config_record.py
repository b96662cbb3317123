"""What is written of a configuration: all of it but secrets, readable as the same configuration again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rerankbench.tracking.config_record import config_hash, differing_keys, flat, resolved, without_user_info


@pytest.fixture
def secret(monkeypatch):
    monkeypatch.setenv("RERANKBENCH_TEST_SECRET", "hunter2")
    return "${oc.env:RERANKBENCH_TEST_SECRET}"


def test_what_comes_from_the_environment_stays_there(secret):
    config = OmegaConf.create(
        {
            "direct": secret,
            "inside": f"Bearer {secret}",
            "pointing": "${direct}",
            "twice": "x ${pointing} y",
            "node": {"list": [secret, "${pointing}"]},
            "copied": "${node}",
            "decoded": "${oc.decode:${direct}}",
            "default": "${oc.env:RERANKBENCH_TEST_ABSENT,${seed}}",
            "seed": 7,
            "plain": "${seed}",
        }
    )
    record = resolved(config)
    assert "hunter2" not in str(record)
    assert record["pointing"] == record["direct"] == secret
    assert record["twice"] == f"x {secret} y"
    assert record["copied"]["list"] == [secret, secret]
    assert record["plain"] == 7
    again = OmegaConf.create(OmegaConf.to_yaml(OmegaConf.create(record)))
    assert OmegaConf.to_container(again, resolve=True) == OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize(
    "key", ["api_key", "apikey", "openai_api_key", "token", "hf_token", "hub-token", "apiKey", "password",
            "client_secret", "db_password", "secret", "authorization", "credentials"]
)  # fmt: skip
def test_literal_secrets_are_hidden(key):
    record = resolved(OmegaConf.create({"model": {key: "hunter2", "other": 1}}))
    assert record == {"model": {key: "***", "other": 1}}


@pytest.mark.parametrize(
    "key", ["max_tokens", "tokenizer", "token_budget", "yes_token", "eos_token", "secretary", "keys", "passwordless"]
)
def test_names_that_only_look_like_secrets_are_kept(key):
    assert resolved(OmegaConf.create({key: "value"})) == {key: "value"}


def test_the_name_of_a_variable_is_kept_and_a_key_in_its_place_is_not():
    names = {"api_key_env": "MY_API_KEY", "token_env": "TOKEN_2"}
    assert resolved(OmegaConf.create(names)) == names
    for key in ("sk-abcdef", "hunter2", "AKIAIOSFODNN7EXAMPLE", "ABC_DEF-G", "abc_def"):
        assert resolved(OmegaConf.create({"api_key_env": key, "api_key": "MY_API_KEY"})) == {
            "api_key_env": "***", "api_key": "***",
        }  # fmt: skip


def test_everything_under_a_secret_key_is_hidden_but_null():
    record = resolved(OmegaConf.create({"credentials": {"user": "me", "pins": [1234], "none": None}, "token": None}))
    assert record == {"credentials": {"user": "***", "pins": ["***"], "none": None}, "token": None}


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("https://me:pw@host/x", "https://host/x"),
        ("postgresql+psycopg://me:p@w@host:5432/db", "postgresql+psycopg://host:5432/db"),
        ("https://host/v1?api_key=abc&q=1", "https://host/v1?api_key=***&q=1"),
        ("sqlite:////runs/a@b.db", "sqlite:////runs/a@b.db"),
        ("mail me@host, see https://host/@me", "mail me@host, see https://host/@me"),
    ],
)
def test_user_info_leaves_uris(uri, shown):
    assert without_user_info(uri) == shown
    assert resolved(OmegaConf.create({"uri": uri})) == {"uri": shown}


def test_a_literal_dollar_brace_survives_being_read_back():
    config = OmegaConf.create({"prompt": r"write \${name} here", "alias": "${prompt}"})
    again = OmegaConf.create(OmegaConf.to_yaml(OmegaConf.create(resolved(config))))
    assert again.prompt == again.alias == "write ${name} here"


text = st.text("abc{}\\.-: '\"#é", max_size=8)
leaves = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), text)
names = st.text("abcdxyz", min_size=1, max_size=4)
inner = st.recursive(leaves, lambda x: st.one_of(st.lists(x, max_size=3), st.dictionaries(names, x, max_size=3)))
nodes = st.dictionaries(names, inner)


@given(nodes)
def test_a_plain_configuration_is_written_as_it_is(node):
    record = resolved(OmegaConf.create(node))
    assert record == node
    assert OmegaConf.to_container(OmegaConf.create(OmegaConf.to_yaml(OmegaConf.create(record)))) == node
    assert config_hash(record) == config_hash(dict(reversed(record.items())))
    assert differing_keys(record, node) == []


def test_the_hash_follows_the_experiment_alone():
    base = {"seed": 0, "run_dir": "a", "force": False, "tracking": {"uri": "a"}, "store": {"dir": "x"}, "name": "n"}
    same = {"seed": 0, "run_dir": "b", "force": True, "tracking": {"uri": "b"}, "store": {"dir": "y"}, "name": "m"}
    assert config_hash(base) == config_hash(same) and differing_keys(base, same) == []
    other = {**base, "seed": 1, "retriever": {"k": 10}}
    assert config_hash(base) != config_hash(other)
    assert differing_keys(base, other) == ["retriever.k", "seed"]


def test_flat_keys():
    assert flat({"a": {"b": 1, "c": [1, {"d": 2}]}, "e": {}}) == {"a.b": 1, "a.c": [1, {"d": 2}], "e": {}}
