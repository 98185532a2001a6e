"""Every scenario of `testdata` on the fake host. The grammar stands in `turnout_testing.scenario`."""

from pathlib import Path

import pytest

from turnout_testing import scenario
from turnout_testing.fakebed import FakeBed

SCENARIOS = sorted((Path(__file__).parent / "testdata").glob("*.txt"))


@pytest.mark.parametrize("path", SCENARIOS, ids=lambda path: path.stem)
def test_scenario_prints_what_it_says(path: Path) -> None:
    scenario.run(path, FakeBed())


def test_there_are_scenarios() -> None:
    assert len(SCENARIOS) > 10
