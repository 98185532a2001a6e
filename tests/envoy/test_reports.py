"""Reports to the lease service, their token, and the last one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from turnout_sidecar.envoy import bootstrap
from turnout_sidecar.envoy.settings import Settings
from turnout_testing import waiting
from turnout_testing.envoy import Envoy, cluster

if TYPE_CHECKING:
    from .conftest import Bed, Engine, Envoys, LeaseService, Upstream


def test_reports_come_by_themselves_and_their_answers_reach_the_engine(
    double: Envoy, leases: LeaseService, engine: Engine
) -> None:
    waiting.until(lambda: engine().get("answers", 0) >= 2, what="answers to reach the engine", within=20)
    sequences = [r.sequence for r in leases.reports]
    assert sequences == sorted(set(sequences))


def test_a_lease_service_that_fails_is_asked_again(double: Envoy, leases: LeaseService, engine: Engine) -> None:
    leases.status = 503
    failed = len(leases.reports)
    waiting.until(lambda: len(leases.reports) >= failed + 3, what="reports while the service fails", within=30)
    answers = engine()["answers"]
    leases.status = 200
    waiting.until(lambda: engine()["answers"] > answers, what="answers after its return", within=30)


def test_sigterm_ends_with_a_final_report_and_the_record_is_gone(
    envoys: Envoys, leases: LeaseService, upstream: Upstream, tmp_path: Path
) -> None:
    record = tmp_path / "epochs"
    record.mkdir()
    settings = Settings(report_cluster="reports", epoch_dir=str(record), drain_ms=200)
    with envoys(cluster("up", upstream.port), cluster("reports", leases.port), settings=settings) as envoy:
        waiting.until(lambda: leases.reports, what="a first report", within=20)
        assert len(list(record.iterdir())) == 1
        assert envoy.stop(within=10) == 0
    assert leases.reports[-1].epoch.final
    assert list(record.iterdir()) == []


def test_sigterm_ends_also_when_nobody_takes_the_final_report(
    envoys: Envoys, leases: LeaseService, upstream: Upstream, tmp_path: Path
) -> None:
    record = tmp_path / "epochs"
    record.mkdir()
    settings = Settings(report_cluster="reports", epoch_dir=str(record), drain_ms=200)
    with envoys(cluster("up", upstream.port), cluster("reports", leases.port), settings=settings) as envoy:
        waiting.until(lambda: leases.reports, what="a first report", within=20)
        leases.status = 503
        assert envoy.stop(within=10) == 0
    assert len(list(record.iterdir())) == 1, "the record speaks for this life"


def test_a_final_report_that_was_heard_and_not_written_leaves_the_record(
    envoys: Envoys, leases: LeaseService, upstream: Upstream, tmp_path: Path
) -> None:
    record = tmp_path / "epochs"
    record.mkdir()
    settings = Settings(report_cluster="reports", epoch_dir=str(record), drain_ms=200)
    leases.closes = False
    with envoys(cluster("up", upstream.port), cluster("reports", leases.port), settings=settings) as envoy:
        waiting.until(lambda: leases.reports, what="a first report", within=20)
        assert envoy.stop(within=10) == 0
    assert leases.reports[-1].epoch.final
    assert len(list(record.iterdir())) == 1


def test_sigterm_lets_a_running_request_finish(envoys: Envoys, upstream: Upstream) -> None:
    with envoys(cluster("up", upstream.port), settings=Settings(drain_ms=20_000)) as envoy:
        url = f"http://127.0.0.1:{envoy.port('in')}/"
        with httpx.stream("POST", url, headers={"x-mode": "pipe:endless"}, timeout=20) as running:
            chunks = running.iter_bytes()
            next(chunks)
            assert envoy.process is not None
            envoy.process.terminate()
            for _ in range(50):
                next(chunks)
            assert envoy.process.poll() is None
        assert envoy.wait(within=20) == 0


def test_a_token_that_rotates_is_on_the_next_report(
    envoys: Envoys, bed: Bed, leases: LeaseService, tmp_path: Path
) -> None:
    """As the kubelet does it: the file is a link through a directory link that is swapped."""
    volume = tmp_path / "token"
    write_token(volume, "one", "token-one")
    sds = tmp_path / "sds" / "token.json"
    sds.parent.mkdir()
    sds.write_text(json.dumps(bootstrap.token_secret(str(volume / "token"))))
    control = bootstrap.ControlPlane(host="127.0.0.1", xds_port=1, report_port=leases.port, token_sds=str(sds))
    document = bed.bootstrap(settings=Settings(report_cluster=bootstrap.REPORT, report_interval_ms=100, drain_ms=0))
    clusters = bootstrap.bootstrap(
        node=bootstrap.Node(id="a", namespace="n", version="0"), control=control, admin=bootstrap.Admin()
    )["static_resources"]["clusters"]
    document["static_resources"]["clusters"] = [c for c in clusters if c["name"] == bootstrap.REPORT]
    with Envoy(document, tmp_path / "run", python_path=[str(Path(__file__).parent / "double")]) as envoy:
        waiting.until(lambda: "Bearer token-one" in leases.tokens, what="the first token", within=20)
        write_token(volume, "two", "token-two")
        waiting.until(lambda: "Bearer token-two" in leases.tokens, what="the second token", within=20)
        assert "token-one" not in envoy.admin("/config_dump")
        assert "token-two" not in envoy.admin("/config_dump")


def write_token(volume: Path, generation: str, token: str) -> None:
    volume.mkdir(exist_ok=True)
    (volume / f"..{generation}").mkdir()
    (volume / f"..{generation}" / "token").write_text(token)
    fresh = volume / "..data_tmp"
    fresh.symlink_to(f"..{generation}")
    fresh.rename(volume / "..data")
    if not (volume / "token").is_symlink():
        (volume / "token").symlink_to("..data/token")
