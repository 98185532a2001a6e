"""The metrics' page says what the code declares."""

from pathlib import Path

import pytest

from turnout_sidecar import metrics
from turnout_sidecar.metrics import Metric

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "metrics.md").read_text()


@pytest.mark.parametrize("metric", metrics.ALL, ids=lambda metric: metric.name)
def test_a_metric_stands_on_its_page(metric: Metric) -> None:
    labels = ", ".join(f"`{label}`" for label in metric.labels) or "-"
    assert f"| `turnout_{metric.name}` | {metric.kind} | {labels} | {metric.about} |" in PAGE


def test_no_other_metric_stands_there() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `turnout_")]
    assert len(rows) == len(metrics.ALL)


def test_no_metric_has_a_label_that_a_client_could_fill() -> None:
    names = {label for metric in metrics.ALL for label in metric.labels}
    assert names == {
        "code",
        "entry",
        "gen_ai_request_model",
        "gen_ai_token_type",
        "limit",
        "model",
        "outcome",
        "pool",
        "reason",
        "route",
        "step",
        "what",
    }
