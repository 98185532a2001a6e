"""Read by the embedded interpreter of these tests only: puts `engine_double.Engine` where the shell finds the engine.

The product has no switch for this; the directory stands first on PYTHONPATH.
"""

import sys
import types

import importlib.util

if importlib.util.find_spec("turnout_sidecar.metrics") is None:
    import enum

    import msgspec

    class Kind(enum.StrEnum):
        COUNTER = "counter"
        GAUGE = "gauge"
        HISTOGRAM = "histogram"

    class Metric(msgspec.Struct, frozen=True, kw_only=True):
        name: str
        kind: Kind
        labels: tuple[str, ...] = ()
        about: str = ""

    fake = types.ModuleType("turnout_sidecar.metrics")
    fake.Kind, fake.Metric = Kind, Metric
    fake.ALL = (
        Metric(name="requests", kind=Kind.COUNTER, labels=("route", "reason")),
        Metric(name="token_usage", kind=Kind.HISTOGRAM, labels=("type",)),
        Metric(name="in_flight", kind=Kind.GAUGE, labels=("pool",)),
    )
    sys.modules["turnout_sidecar.metrics"] = fake

import engine_double

_engine = types.ModuleType("turnout_sidecar.engine")
_engine.Engine = engine_double.Engine  # type: ignore[attr-defined]
sys.modules["turnout_sidecar.engine"] = _engine
