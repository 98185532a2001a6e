"""YAML as kubectl reads it, and nothing that a file says can take the reader down."""

from __future__ import annotations

from typing import Any

import pytest

from turnout_operator.api import documents


def _value(text: str) -> Any:
    (document,), faults = documents.parse("a.yaml", text)
    assert faults == []
    return document.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a: 2026-11-26", {"a": "2026-11-26"}),
        ("a: 10:30", {"a": "10:30"}),
        ("a: 1e3", {"a": 1000.0}),
        ("a: 0.02", {"a": 0.02}),
        ("a: yes", {"a": True}),
        ("on: 1", {"true": 1}),
        ("1: a", {"1": "a"}),
        ('a: "0.02"', {"a": "0.02"}),
        ("\ufeffa: 1", {"a": 1}),
        ("a: 1\r\nb: 2\r\n", {"a": 1, "b": 2}),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ('{"a": [1, "x"]}', {"a": [1, "x"]}),
    ],
)
def test_a_value_is_what_kubectl_would_send(text: str, value: Any) -> None:
    assert _value(text) == value


def test_lines_count_from_one_and_go_on_over_documents() -> None:
    first, second = documents.parse("a.yaml", "a:\n  b: 1\n---\n\nc:\n- d\n- e: 1\n")[0]

    assert (first.line_of(("a", "b")), second.line_of(("c", 1, "e"))) == (2, 7)
    assert second.line_of(("c", 1, "gone", "deeper")) == 7


def test_empty_documents_are_none() -> None:
    assert documents.parse("a.yaml", "---\n---\n# only words\n") == ([], [])


def test_a_list_is_its_items_with_their_own_lines() -> None:
    text = "apiVersion: v1\nkind: List\nitems:\n- kind: A\n- kind: B\n  spec: {}\n  spec: {}\n"
    first, second = documents.parse("a.yaml", text)[0]

    assert (first.value, second.value) == ({"kind": "A"}, {"kind": "B", "spec": {}})
    assert (first.line_of(("kind",)), second.line_of(("kind",))) == (4, 5)
    assert (first.repeated, second.repeated) == ((), (("spec",),))


BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (BOMB, "stands for more than"),
        ("a: &a [*a]", "holds the alias itself"),
        ("[" * 5_000, "this is not YAML"),
        ("a: !!python/object/apply:os.system [ls]", "this is not YAML"),
        ("a:\n\t- b", "this is not YAML"),
        ("a: [", "this is not YAML"),
        ("{[a]: b}", "this is not YAML"),
    ],
    ids=["a bomb of aliases", "an alias of itself", "a deep nest", "a tag", "a tab", "an open end", "a list as key"],
)
def test_what_cannot_be_read_is_one_fault(text: str, words: str) -> None:
    read, (fault,) = documents.parse("a.yaml", text)

    assert read == []
    assert words in fault.message
    assert (fault.file, fault.line >= 1) == ("a.yaml", True)


def test_what_stands_before_a_broken_document_is_still_read() -> None:
    (document,), (fault,) = documents.parse("a.yaml", "a: 1\n---\nb: [\n")

    assert document.value == {"a": 1}
    assert fault.line >= 3
