"""Every scenario of the fake host in real Envoy, over TCP, with the same expectations."""

from pathlib import Path

import pytest

from turnout_testing import scenario
from turnout_testing.realbed import RealBed

SCENARIOS = sorted((Path(__file__).parents[1] / "exchange" / "testdata").glob("*.txt"))
PATIENCE = 15.0
"""Seconds until what is shown must be true, on a machine under load."""


@pytest.mark.envoy
@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario_is_the_same_in_envoy(path: Path, tmp_path: Path) -> None:
    scenario.run(path, RealBed(tmp_path), patience=PATIENCE)


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) > 10
