"""What the bootstrap tells the engine's extension; `bootstrap.py` writes it, the engine reads it at its start."""

import msgspec

EXTENSION = "turnout"
LIBRARY = "turnout_engine"
FILTER = "turnout-engine"
STATS = "turnout"
"""Namespace of all metrics in Envoy's statistics."""


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    epoch_dir: str = ""
    """Directory of the write-ahead record; empty: none is kept, and what a crashed life had leased is lost until its windows end."""
    report_cluster: str = ""
    """Envoy's cluster of the lease service; empty: nothing is reported and nothing is leased."""
    report_authority: str = "turnout-control"
    report_interval_ms: int = 1_000
    self_cluster: str = ""
    """Envoy's cluster that leads to the sidecar's own listener, for a drill's probes; empty: no probes."""
    drain_ms: int = 5_000
    """How long a shutdown waits for requests that are being answered."""


def decode(document: bytes) -> Settings:
    """Raises `msgspec.MsgspecError` with the path of what is wrong."""
    return msgspec.json.decode(document or b"{}", type=Settings)
