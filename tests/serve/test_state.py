"""The folder that survives `serve`."""

from pathlib import Path

import pytest

from turnout_operator.ir import Accepted
from turnout_operator.serve.generations import Counted, stamp
from turnout_operator.serve.program import Remembered
from turnout_operator.serve.state import State, StateRefused


def test_what_is_remembered_is_there_in_the_next_life(tmp_path: Path) -> None:
    remembered = Remembered(accepted=Accepted(), generations={"LLMRoute a/b": Counted(digest="d", generation=3)})
    with State(tmp_path / "s") as state:
        state.remember(remembered)
    with State(tmp_path / "s") as state:
        assert state.remembered() == remembered


def test_a_memory_of_another_version_is_no_memory(tmp_path: Path) -> None:
    with State(tmp_path / "s") as state:
        (state.folder / "accepted.json").write_text('{"accepted": {"routes": [{"strange": 1}]}, "generations": {}}')
        assert state.remembered() == Remembered(accepted=Accepted(), generations={})


def test_two_serves_do_not_share_a_state(tmp_path: Path) -> None:
    with State(tmp_path / "s"), pytest.raises(StateRefused, match="in use by another serve"):
        State(tmp_path / "s").__enter__()
    with State(tmp_path / "s"):
        """The first one is gone."""


def test_others_on_the_machine_read_nothing_of_it(tmp_path: Path) -> None:
    with State(tmp_path / "s") as state:
        path = state.private("token", b"t")
        assert path.stat().st_mode & 0o077 == 0
        assert state.folder.stat().st_mode & 0o077 == 0
        assert len(str(state.admin_socket)) < 100


def test_a_generation_counts_changes_of_the_spec_and_of_nothing_else() -> None:
    base = {"kind": "LLMRoute", "metadata": {"name": "r"}, "spec": {"a": 1, "b": 2}}
    generations: dict[str, Counted] = {}
    counted = []
    for change in (
        {},
        {"metadata": {"name": "r", "labels": {"x": "y"}}},
        {"spec": {"b": 2, "a": 1}},
        {"spec": {"a": 2}},
    ):
        (stamped,), generations = stamp([base | change], generations)
        counted.append(stamped["metadata"]["generation"])
    assert counted == [1, 1, 1, 2]
