"""The bootstrap as Envoy itself judges it, and the way to the sidecar's own listener."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trustme

from turnout_sidecar.envoy import bootstrap, build, launcher
from turnout_sidecar.envoy.settings import Settings, decode
from turnout_testing import waiting
from turnout_testing.envoy import Envoy, cluster

if TYPE_CHECKING:
    from .conftest import Bed, Envoys, Upstream

DOUBLE = str(Path(__file__).parent / "double")
NODE = bootstrap.Node(id="pod-1", namespace="shop", version="0.1.0")


def whole(place: Path, *, tls: bool, host: str, admin: bootstrap.Admin) -> dict[str, Any]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(place / "ca.pem"))
    (place / "token").write_text("a-token")
    (place / "sds.json").write_text(json.dumps(bootstrap.token_secret(str(place / "token"))))
    control = bootstrap.ControlPlane(
        host=host,
        xds_port=18000,
        report_port=18001,
        tls=bootstrap.Tls(ca_file=str(place / "ca.pem"), server_name="turnout.turnout.svc") if tls else None,
        token_sds=str(place / "sds.json"),
    )
    return bootstrap.bootstrap(node=NODE, control=control, admin=admin, epoch_dir=str(place))


@pytest.mark.parametrize("tls", [True, False], ids=["tls", "plain"])
@pytest.mark.parametrize("host", ["127.0.0.1", "turnout.turnout.svc"])
def test_envoy_finds_nothing_wrong_with_it(envoys: Envoys, tmp_path: Path, tls: bool, host: str) -> None:
    admin = bootstrap.Admin(path=str(tmp_path / "a"))
    file = tmp_path / "bootstrap.json"
    file.write_bytes(bootstrap.encode(whole(tmp_path, tls=tls, host=host, admin=admin)))
    command = launcher.command(launcher.find_envoy(), file, extra=("--mode", "validate"))
    environment = launcher.environment(build.build(), base=os.environ, python_path=[DOUBLE])
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "deprecated" not in result.stderr.lower()


def test_the_same_facts_give_the_same_bytes(tmp_path: Path) -> None:
    admin = bootstrap.Admin()
    one, two = (bootstrap.encode(whole(tmp_path, tls=True, host="a.svc", admin=admin)) for _ in range(2))
    assert one == two
    assert b"a-token" not in one


def test_the_control_plane_is_told_which_policies_this_sidecar_reads(tmp_path: Path) -> None:
    node = whole(tmp_path, tls=True, host="a.svc", admin=bootstrap.Admin())["node"]
    assert node["metadata"]["turnout.dev/policy-schemas"] == [1]
    assert node["metadata"]["turnout.dev/namespace"] == node["cluster"] == "shop"


def test_the_engine_reads_what_the_bootstrap_says(tmp_path: Path) -> None:
    document = whole(tmp_path, tls=True, host="a.svc", admin=bootstrap.Admin())
    (said,) = [
        e["typed_config"]["extension_config"]["value"]
        for e in document["bootstrap_extensions"]
        if "extension_config" in e["typed_config"]
    ]
    settings = decode(said.encode())
    assert settings.report_cluster == bootstrap.REPORT
    assert settings.self_cluster == bootstrap.SELF
    assert settings.epoch_dir == str(tmp_path)


def test_a_setting_that_is_not_known_is_refused(envoys: Envoys, bed: Bed, tmp_path: Path) -> None:
    document = bed.bootstrap()
    extension = document["bootstrap_extensions"][1]["typed_config"]["extension_config"]
    extension["value"] = '{"report_every": 5}'
    envoy = Envoy(document, tmp_path / "run", python_path=[DOUBLE]).start()
    assert envoy.wait() != 0
    assert "report_every" in envoy.log()


def test_a_call_of_the_main_thread_reaches_the_sidecars_own_listener(
    envoys: Envoys, bed: Bed, upstream: Upstream, tmp_path: Path
) -> None:
    """As a drill's probes do: through the static socket to the internal listener on the worker."""
    static = whole(tmp_path, tls=False, host="127.0.0.1", admin=bootstrap.Admin())["static_resources"]
    settings = Settings(report_cluster=bootstrap.SELF, report_interval_ms=100, drain_ms=0)
    document = bed.bootstrap(cluster("up", upstream.port), settings=settings)
    (ingress,) = document["static_resources"]["listeners"]
    own = {key: value for key, value in ingress.items() if key != "address"}
    own |= {"name": bootstrap.SELF, "internal_listener": {}}
    document["static_resources"]["clusters"] += [c for c in static["clusters"] if c["name"].startswith("turnout-self")]
    document["static_resources"]["listeners"] += [*static["listeners"], own]
    with Envoy(document, tmp_path / "run", python_path=[DOUBLE]) as envoy:
        waiting.until(lambda: upstream.seen, what="a call through the own listener and the engine", within=20)
        addresses = json.loads(envoy.admin("/listeners?format=json"))["listener_statuses"]
        assert {a["name"] for a in addresses} == {"in", "turnout-self", "turnout-self-entry"}
