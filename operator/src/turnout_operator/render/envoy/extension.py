"""The engine as an HTTP filter whose configuration, the policy document, is discovered over ECDS."""

from __future__ import annotations

from typing import Any

from turnout_operator.render.envoy.message import URL

ENGINE = "turnout-engine"
"""Name of the ECDS resource and of the filter inside the library."""
LIBRARY = "turnout_engine"

_FILTER = URL + "envoy.extensions.filters.http.dynamic_modules.v3.DynamicModuleFilter"


def discovery() -> dict[str, Any]:
    """What stands in the listener. Without a default configuration: a sidecar that never had a policy refuses, it does not pass."""
    source = {"ads": {}, "resource_api_version": "V3"}
    return {"config_source": source, "type_urls": [_FILTER]}


def extension(document: bytes) -> dict[str, Any]:
    """The ECDS resource that carries this policy document."""
    return {
        "name": ENGINE,
        "typed_config": {
            "@type": _FILTER,
            "dynamic_module_config": {"name": LIBRARY, "do_not_close": True, "load_globally": True},
            "filter_name": ENGINE,
            "terminal_filter": True,
            "filter_config": {"@type": URL + "google.protobuf.StringValue", "value": document.decode()},
        },
    }
