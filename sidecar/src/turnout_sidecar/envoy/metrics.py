"""Metrics that live as long as the process: defined once on the bootstrap extension, where an ECDS push cannot take them away.

A labelled call into Envoy costs half a microsecond, so counters add up here and are handed over five times a second; values for
histograms go straight through. The labels' C arrays are built once for each set of values.
"""

import threading
from typing import Any

from _turnout_engine import ffi, lib

from turnout_sidecar.envoy.settings import STATS
from turnout_sidecar.metrics import ALL, BUGS, Kind, Labels, Metric

_KINDS = {Kind.COUNTER: 0, Kind.GAUGE: 1, Kind.HISTOGRAM: 2}


def stat_name(metric: Metric) -> str:
    """OpenTelemetry's names stand alone; ours carry the product's."""
    return metric.name if metric.name.startswith("gen_ai_") else f"{STATS}_{metric.name}"


class EnvoySink:
    """The `MetricSink` of the shell. Counting is thread-safe."""

    def __init__(self, config: Any) -> None:
        """Raises ValueError when Envoy refuses a definition."""
        self._config = config
        self._ids = {metric.name: self._define(metric) for metric in ALL}
        self._arrays: dict[tuple[str, Labels], tuple[int, Any, int, Any]] = {}
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, Labels], int] = {}

    def count(self, metric: Metric, labels: Labels, by: int = 1) -> None:
        key = (metric.name, labels)
        with self._lock:
            self._counts[key] = self._counts.get(key, 0) + by

    def observe(self, metric: Metric, labels: Labels, value: int) -> None:
        identity, array, size, _ = self._of(metric.name, labels)
        lib.turnout_observe(self._config, identity, array, size, value)

    def gauge(self, metric: Metric, labels: Labels, value: int) -> None:
        identity, array, size, _ = self._of(metric.name, labels)
        lib.turnout_gauge(self._config, identity, array, size, value)

    def bug(self, entry: str) -> None:
        self.count(BUGS, (entry,))

    def flush(self) -> None:
        """Main thread: hands over what was counted."""
        with self._lock:
            counts, self._counts = self._counts, {}
        for (name, labels), by in counts.items():
            identity, array, size, _ = self._of(name, labels)
            lib.turnout_count(self._config, identity, array, size, by)

    def _of(self, name: str, labels: Labels) -> tuple[int, Any, int, Any]:
        found = self._arrays.get((name, labels))
        if found is None:
            array, keep = _array(labels)
            found = self._arrays[name, labels] = (self._ids[name], array, len(labels), keep)
        return found

    def _define(self, metric: Metric) -> int:
        name = stat_name(metric).encode()
        array, _keep = _array(metric.labels)
        identity: int = lib.turnout_define(
            self._config, _KINDS[metric.kind], name, len(name), array, len(metric.labels)
        )
        if identity < 0:
            raise ValueError(f"Envoy refused to define the metric {metric.name}: result {-identity}")
        return identity


def _array(words: Labels) -> tuple[Any, list[Any]]:
    """Envoy's array, and the buffers that it points into."""
    array = ffi.new("turnout_bytes[]", len(words))
    keep = []
    for index, word in enumerate(words):
        raw = word.encode()
        buffer = ffi.new("char[]", raw)
        keep.append(buffer)
        array[index].at = buffer
        array[index].size = len(raw)
    return array, keep
