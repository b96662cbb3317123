"""Content: parts in their order, a key that depends on them alone, and metadata beside them."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import DataError
from rerankbench.types import Document, Picture, Query

parts = st.lists(st.one_of(st.text(st.characters(codec="utf-8")), st.binary().map(Picture)), max_size=4)


def test_a_text_is_a_document_of_one_part() -> None:
    document = Document("d", "text")
    assert (document.parts, document.text, document.metadata) == (("text",), "text", {})
    assert document == Document("d", ("text",)) == Document("d", ["text"], {"date": 1})
    with pytest.raises(FrozenInstanceError):
        document.id = "e"  # type: ignore[misc]
    query = Query("q", "text", "be brief", {"date": 1})
    assert (query.text, query.instruction, query.metadata) == ("text", "be brief", {"date": 1})


@given(one=parts, two=parts)
def test_the_key_depends_on_the_parts_alone(one: list[str | Picture], two: list[str | Picture]) -> None:
    first, second = Document("a", one, {"x": 1}), Document("b", two)
    assert (first.key == second.key) == (one == two)
    assert first.key == Document("c", one).key == Query("q", one, "instruction").key
    assert pickle.loads(pickle.dumps(first)).key == first.key


def test_the_key_is_the_same_in_every_process() -> None:
    assert Document("d", "text").key == "97503081ea49167444fface8627ad150"


def test_another_text_stands_in_front_of_the_pictures() -> None:
    picture = Picture(b"12")
    document = Document("d", ["a", picture, "b"], {"date": 1})
    assert document.text == "a b"
    changed = document.with_text("c")
    assert (changed.id, changed.parts, changed.metadata) == ("d", ("c", picture), {"date": 1})
    assert changed.key != document.key
    assert Query("q", "a", "be brief").with_text("b") == Query("q", "b", "be brief")


def test_a_picture_is_read_when_it_is_needed(tmp_path: Path) -> None:
    file = tmp_path / "picture.png"
    picture = Picture(file)
    with pytest.raises(DataError, match=r"picture\.png: cannot be read"):
        Document("d", [picture]).key  # noqa: B018
    file.write_bytes(b"12")
    assert picture.data == b"12"
    assert picture.key == Picture(b"12").key != Picture(b"13").key
