"""One line of JSON for every request, written by Envoy itself. No prompt, no answer, no key, no query string."""

from __future__ import annotations

from typing import Any

from turnout_operator.render.envoy.message import URL

NAMESPACE = "turnout"
"""Dynamic metadata under which the engine records its facts (`Host.record`)."""

RECORDED = (
    "route", "tenant", "user", "run", "candidate", "model", "attempts", "input_tokens", "output_tokens", "cost_nano_usd",
    "reason", "step", "path", "labels",
)  # fmt: skip
"""The engine's facts, each logged under its own name; those it did not record are left out of the line."""

_ENVOY = {
    "event": "request",
    "time": "%START_TIME%",
    "method": "%REQUEST_HEADER(:METHOD)%",
    "url_path": "%PATH(NQ)%",
    "protocol": "%PROTOCOL%",
    "status": "%RESPONSE_CODE%",
    "duration_ms": "%DURATION%",
    "bytes_in": "%BYTES_RECEIVED%",
    "bytes_out": "%BYTES_SENT%",
    "request_id": "%REQUEST_HEADER(X-REQUEST-ID)%",
    "flags": "%RESPONSE_FLAGS%",
    "details": "%RESPONSE_CODE_DETAILS%",
}


def access_log(path: str, *, probe: bool) -> list[dict[str, Any]]:
    """To the file at `path`, or to standard output when it is empty. `probe` marks lines of a drill's own requests."""
    recorded = {name: f"%DYNAMIC_METADATA({NAMESPACE}:{name})%" for name in RECORDED}
    line: dict[str, Any] = _ENVOY | recorded | ({"probe": True} if probe else {})
    format_ = {"json_format": line, "omit_empty_values": True}
    if path:
        typed = {"@type": URL + "envoy.extensions.access_loggers.file.v3.FileAccessLog", "path": path}
        return [{"name": "envoy.access_loggers.file", "typed_config": typed | {"log_format": format_}}]
    typed = {"@type": URL + "envoy.extensions.access_loggers.stream.v3.StdoutAccessLog"}
    return [{"name": "envoy.access_loggers.stdout", "typed_config": typed | {"log_format": format_}}]
