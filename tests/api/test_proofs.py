"""Every promise that is called enforced names a test that is there."""

from __future__ import annotations

from pathlib import Path

import pytest

from turnout_operator.api import FallbackDrillSpec, LLMRouteSpec, ProviderPoolSpec, proofs
from turnout_operator.api.enforcement import ByValue, Enforced, Held
from turnout_operator.api.promises import promises_of

ROOT = Path(__file__).parents[2]
PROOFS = {name: proof for name, proof in vars(proofs).items() if name.isupper() and not name.startswith("_")}


@pytest.mark.parametrize("name", sorted(PROOFS))
def test_the_proof_of_a_promise_is_there(name: str) -> None:
    file, _, function = PROOFS[name].partition("::")
    path = ROOT / file

    assert path.is_file(), f"{name} is proved by {file}, which is not there"
    if function:
        assert f"def {function}(" in path.read_text(encoding="utf-8"), (
            f"{name} is proved by {function}, which is not there"
        )


def test_every_proof_belongs_to_a_promise_and_every_promise_has_one_of_them() -> None:
    used = set()
    for spec in (LLMRouteSpec, ProviderPoolSpec, FallbackDrillSpec):
        for mark in promises_of(spec).values():
            marks = mark.marks.values() if isinstance(mark, ByValue) else (mark,)
            used |= {each.proof for each in marks if isinstance(each, Enforced | Held)}

    assert used == set(PROOFS.values())
