"""What the sim's tests share: a running sim, and the smallest requests."""

from collections.abc import Iterator

import pytest

from turnout_operator.sim import Sim


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Sim() as running:
        yield running
