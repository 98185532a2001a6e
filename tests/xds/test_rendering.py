"""Envoy resources from compiled manifests: goldens in ``testdata``, rewritten by ``TURNOUT_GOLDEN=1``."""

import hashlib
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from turnout_operator import clusters, compiler, snapshot
from turnout_operator.ir import Compilation
from turnout_operator.render.envoy import Edge, Resources, message, resources
from turnout_operator.render.envoy.cluster import GENUINE
from turnout_operator.render.envoy.listener import MAX_BODY
from turnout_operator.render.envoy.local_reply import replies
from turnout_operator.serve import keys
from turnout_operator.xds import view
from turnout_operator.xds.kind import Kind
from turnout_sidecar.envoy import build

TESTDATA = Path(__file__).parent / "testdata"
GOLDEN = os.environ.get("TURNOUT_GOLDEN") == "1"
NOW = datetime(2026, 6, 1, tzinfo=UTC)
CASES = sorted(TESTDATA.glob("*.in.yaml"))
SHAPE = TESTDATA / "cluster-shape.txt"
BASE = "a key for each dialect and none for the self-hosted"


def manifests(path: Path) -> list[dict[str, Any]]:
    return [m for m in yaml.safe_load_all(path.read_text()) if m]


def compiled(path: Path) -> Compilation:
    made = compiler.compile(snapshot.from_manifests(manifests(path)), None, NOW)
    assert not made.diagnostics, [str(d) for d in made.diagnostics]
    return made


def rendered(path: Path, edge: Edge | None = None) -> Resources:
    made = compiled(path)
    known = frozenset(keys.of_manifests(manifests(path)))
    return resources(made.routes_of("a"), made.pools_of("a"), known, edge or Edge())


def shown(made: Resources) -> dict[str, Any]:
    """Everything but the policy document, which has goldens of its own in tests/compiler."""
    extension = message.decode(message.EXTENSION, made.extensions[0].body)
    extension["typed_config"]["filter_config"]["value"] = "<the policy document>"
    return {
        "clusters": [message.decode(message.CLUSTER, r.body) for r in made.clusters],
        "listeners": [message.decode(message.LISTENER, r.body) for r in made.listeners],
        "extension": extension,
        "secrets": [secret.name for secret in made.secrets],
        "longest": made.longest,
    }


@pytest.mark.parametrize("path", CASES, ids=lambda p: p.name.removesuffix(".in.yaml"))
def test_resources_are_as_reviewed(path: Path) -> None:
    golden = path.with_name(path.name.replace(".in.yaml", ".out.yaml"))
    found = yaml.safe_dump(shown(rendered(path)), sort_keys=True, width=120)
    if GOLDEN:
        golden.write_text(found)
    assert found == golden.read_text()


def test_whoever_changes_how_a_cluster_is_rendered_raises_the_shape() -> None:
    """A cluster that changes under its name resets every stream on it when the operator is upgraded."""
    bodies = [r.body for r in rendered(TESTDATA / f"{BASE}.in.yaml").clusters]
    digest = hashlib.sha256(b"".join(bodies)).hexdigest()
    if GOLDEN and not SHAPE.read_text().startswith(f"{clusters.SHAPE} "):
        SHAPE.write_text(f"{clusters.SHAPE} {digest}\n")
    assert SHAPE.read_text() == f"{clusters.SHAPE} {digest}\n", "raise clusters.SHAPE, then rewrite the goldens"


def test_the_same_input_gives_the_same_bytes_in_any_order() -> None:
    path = TESTDATA / f"{BASE}.in.yaml"
    made = compiled(path)
    known = frozenset(keys.of_manifests(manifests(path)))
    forward = resources(made.routes, made.pools, known, Edge())
    backward = resources(made.routes[::-1], made.pools[::-1], known, Edge())
    assert forward == backward


def test_no_key_stands_in_any_resource_but_in_the_secret_that_is_sent() -> None:
    path = TESTDATA / f"{BASE}.in.yaml"
    made = rendered(path)
    known = keys.of_manifests(manifests(path))
    bodies = b"".join(r.body for r in (*made.clusters, *made.listeners, *made.extensions))
    assert b"SEKRET" not in bodies
    full = view(made, lambda key: known[key].reveal(), b"salt")
    assert "SEKRET" not in repr(full)
    assert "SEKRET" not in repr(known)
    with pytest.raises(TypeError):
        json.dumps(next(iter(known.values())))
    sent = full.items[Kind.SECRET]
    assert b"Bearer SEKRET-OPENAI" in sent["secret/a/openai/apiKey/bearer"].bytes
    assert b"SEKRET-ANTHROPIC" in sent["secret/a/anthropic/apiKey"].bytes
    assert b"Bearer" not in sent["secret/a/anthropic/apiKey"].bytes


def test_the_version_of_a_secret_tells_nothing_without_the_salt() -> None:
    path = TESTDATA / f"{BASE}.in.yaml"
    made = rendered(path)
    known = keys.of_manifests(manifests(path))
    one, other = (view(made, lambda key: known[key].reveal(), salt) for salt in (b"one", b"other"))
    again = view(made, lambda key: known[key].reveal(), b"one")
    assert one == again
    assert not {i.version for i in one.items[Kind.SECRET].values()} & {
        i.version for i in other.items[Kind.SECRET].values()
    }


def test_a_pool_without_its_key_has_no_cluster_and_holds_up_no_other() -> None:
    path = TESTDATA / f"{BASE}.in.yaml"
    made = compiled(path)
    without = resources(made.routes, made.pools, frozenset(), Edge())
    assert {r.name.split("/")[2] for r in without.clusters} == {"own"}
    assert without.secrets == ()


def test_the_edge_keeps_envoys_guide_for_untrusted_clients() -> None:
    for listener in shown(rendered(TESTDATA / f"{BASE}.in.yaml"))["listeners"]:
        manager = listener["filter_chains"][0]["filters"][0]["typed_config"]
        http2 = manager["http2_protocol_options"]
        assert http2["max_concurrent_streams"] == 100
        assert http2["initial_stream_window_size"] == 65_536
        assert http2["initial_connection_window_size"] == 1_048_576
        assert manager["common_http_protocol_options"]["headers_with_underscores_action"] == "REJECT_REQUEST"
        assert manager["common_http_protocol_options"]["max_headers_count"] == 100
        assert (manager["request_headers_timeout"], manager["request_timeout"]) == ("10s", "30s")
        assert manager["stream_idle_timeout"] == "0s"
        assert (manager["use_remote_address"], manager["normalize_path"], manager["merge_slashes"]) == (True,) * 3
        assert manager["server_header_transformation"] == "PASS_THROUGH"
        assert [f["name"] for f in manager["http_filters"]] == ["turnout-engine"]


def test_the_engines_filter_bounds_a_request_as_the_listener_says() -> None:
    """It collects the body itself: a buffering filter before it would do so twice. tests/envoy proves the 413 on both protocols."""
    source = (build.native() / "filter.c").read_text()
    shift = re.search(r"#define LARGEST_REQUEST \(1 << (\d+)\)", source)
    assert shift is not None
    assert 1 << int(shift[1]) == MAX_BODY


def test_only_the_sidecar_itself_reaches_its_second_listener() -> None:
    own = next(r for r in rendered(TESTDATA / f"{BASE}.in.yaml").listeners if r.name == "turnout-self")
    document = message.decode(message.LISTENER, own.body)
    assert "address" not in document
    assert document["internal_listener"] == {}


def test_every_cluster_marks_what_the_provider_itself_said() -> None:
    for resource in rendered(TESTDATA / f"{BASE}.in.yaml").clusters:
        options = message.decode(message.CLUSTER, resource.body)["typed_extension_protocol_options"]
        filters = options["envoy.extensions.upstreams.http.v3.HttpProtocolOptions"]["http_filters"]
        assert filters[-1]["name"] == "envoy.filters.http.upstream_codec"
        append = filters[-2]["typed_config"]["mutations"]["response_mutations"][0]["append"]
        assert (append["header"]["key"], append["append_action"]) == (GENUINE, "OVERWRITE_IF_EXISTS_OR_ADD")


def test_every_reply_of_envoys_own_has_words_and_says_whether_to_retry() -> None:
    for reply in replies(1 << 20):
        assert reply.message.endswith((".", "!"))
        assert reply.kind == ("server_error" if reply.status >= 500 else "invalid_request_error")
        assert reply.retry == (reply.status >= 500 or reply.status == 408)


def test_the_policy_version_of_the_resources_is_that_of_the_document() -> None:
    made = rendered(TESTDATA / f"{BASE}.in.yaml")
    extension = message.decode(message.EXTENSION, made.extensions[0].body)
    assert json.loads(extension["typed_config"]["filter_config"]["value"])["version"] == made.policy_version
