"""SIGKILL at one ledger write after the other: the whole operator, just before a write is stored and just after, while a sidecar spends.

The product has no switch for this. A gatekeeper in front of the API server kills the process between its asking and its hearing.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from itertools import product

import httpx
import pytest
import yaml

from turnout_testing import waiting
from turnout_testing.gatekeeper import Gatekeeper, When
from turnout_testing.installation import ACCOUNT, NAMESPACE, OperatorReplica, Sidecar
from turnout_testing.traffic import Mix, Traffic

from .conftest import NANO, PATIENCE, ROUTES, Bed, limit, pool, route

pytestmark = pytest.mark.apiserver

LIMIT, TENANT_LIMIT = "0.08", "0.004"
ROUTE = f"{ROUTES}/route:watched/all/-"
FIRST_WRITES = 3
NEW_TENANTS = 5
"""Each round brings some: who is seen for the first time needs a grant, and so a write."""


@dataclass(frozen=True)
class World:
    bed: Bed
    gate: Gatekeeper
    operator: OperatorReplica
    sidecar: Sidecar
    traffic: Traffic


def tenants(number: int) -> tuple[str, ...]:
    return tuple(f"tenant-{number}-{n}" for n in range(NEW_TENANTS))


@pytest.fixture(scope="module")
def world(bed: Bed, seed: int) -> Iterator[World]:
    installation, plane = bed.installation, bed.installation.plane
    unwatched = installation.replicas
    with Gatekeeper(plane.url, plane.ca) as gate:
        document = yaml.safe_load(plane.service_account_kubeconfig(NAMESPACE, ACCOUNT).read_text())
        document["clusters"][0]["cluster"] = {"server": gate.url}
        kubeconfig = installation.folder / "watched.kubeconfig"
        kubeconfig.touch(0o600)
        kubeconfig.write_text(yaml.safe_dump(document))
        operator = OperatorReplica(plane, installation.folder, "watched", kubeconfig, tied=True)
        installation.replicas = [operator]
        installation.apply(
            pool("fast", bed.sim),
            route("watched", ("fast",), [limit("all", "Route", LIMIT), limit("each", "Tenant", TENANT_LIMIT)]),
        )
        installation.start_operators()
        sidecar = installation.sidecar(ROUTES, "app-watched")
        bed.await_programmed(1, "watched")
        mix = Mix(models=("watched",), tenants=tenants(0), tokens=(5, 60), cap=100, leaves_at_once=0)
        traffic = Traffic([lambda: sidecar.url], mix, seed=seed, workers=3)
        try:
            with traffic:
                yield World(bed, gate, operator, sidecar, traffic)
        finally:
            bed.done_with(sidecar)
            installation.plane.kubectl("delete", "llmroute", "watched", f"--namespace={ROUTES}")
            installation.replicas = unwatched


def test_an_operator_that_is_killed_at_any_write_loses_no_grant_and_gives_none_twice(
    world: World, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    began = datetime.now(UTC)
    bed, gate, operator, traffic = world.bed, world.gate, world.operator, world.traffic
    rounds = list(product(range(1, FIRST_WRITES + 1), When))
    try:
        for number, (nth, when) in enumerate(rounds, start=1):
            _await_service(traffic)
            traffic.mix = traffic.mix._replace(tenants=tenants(number))
            if number % 3 == 0:  # so that the end of a life is among the writes
                world.sidecar.process.kill()
                world.sidecar.start()
            gate.arm(nth, when, operator.process.kill)
            waiting.until(
                partial(gate.has_struck, number),
                what=f"ledger write {nth}, to kill {when.value}",
                within=PATIENCE,
            )
            assert operator.process.pid is None
            _nobody_overspends(bed, began)
            operator.start()
        traffic.mix = traffic.mix._replace(tenants=tenants(len(rounds) + 1))
        _await_service(traffic)
        traffic.pause()
        waiting.until(lambda: traffic.quiet, what="the load to end", within=PATIENCE)
        waiting.until(lambda: _books_agree(bed), what="the books to agree with the bill", within=PATIENCE)
    except waiting.NeverHappenedError as e:
        pytest.fail(f"seed {seed}: {e}\n{traffic.endings}\n{bed.installation.story()}", pytrace=False)
    _nobody_overspends(bed, began)
    charged, billed = bed.charged()[ROUTE], sum(_bills(bed).values())
    with capsys.disabled():
        print(
            f"\nseed {seed}: {gate.strikes} kills over {gate.writes} ledger writes; {dict(sorted(traffic.endings.items()))}"
        )
        print(f"  billed {billed / NANO:.4f}, charged {charged / NANO:.4f}, limit {LIMIT}")
    assert billed, "something was spent"


def _await_service(traffic: Traffic) -> None:
    """Work is resumed: somebody is answered again, on money that was granted after the last death."""
    before = traffic.endings["answered"] + traffic.endings["streamed"]
    waiting.until(
        lambda: traffic.endings["answered"] + traffic.endings["streamed"] >= before + 3,
        what="answers after the operator's return",
        within=PATIENCE,
    )


def test_a_sidecar_serves_although_its_volume_holds_the_lives_of_another_pod(world: World) -> None:
    """Such as a claim that a new pod takes over: those leases are another's to give back, its own work must not wait for them."""
    installation, traffic = world.bed.installation, world.traffic
    traffic.pause()
    dead = installation.sidecar(ROUTES, "app-dead")
    heir = Sidecar(installation, ROUTES, "app-heir")
    try:
        _await_answer(dead, "of-the-dead")
        dead.process.kill()
        (heir.folder / "epochs").mkdir(mode=0o700)
        for record in (dead.folder / "epochs").iterdir():
            shutil.copy(record, heir.folder / "epochs")
        heir.start()
        _await_answer(heir, "of-the-heir")
    except waiting.NeverHappenedError as e:
        pytest.fail(f"{e}\n{heir.process.log_tail()}\n{world.operator.process.log_tail()}", pytrace=False)
    finally:
        heir.process.terminate(10)
        dead.process.terminate(10)


def _await_answer(sidecar: Sidecar, tenant: str) -> None:
    body = {"model": "watched", "messages": [{"role": "user", "content": "x"}], "user": f"watched.{tenant}"}

    def answered() -> bool:
        answer = httpx.post(f"{sidecar.url}/chat/completions", json=body, headers={"x-tenant-id": tenant}, timeout=60)
        return answer.status_code == 200

    waiting.until(answered, what=f"{sidecar.name} to answer {tenant}", within=PATIENCE)


def _bills(bed: Bed) -> dict[str, int]:
    """By tenant."""
    return {line.tag.partition(".")[2]: line.cost_nano_usd for line in bed.sim.bill().lines}


def _nobody_overspends(bed: Bed, began: datetime) -> None:
    windows = 1 + (datetime.now(UTC).month != began.month)
    bills = _bills(bed)
    assert sum(bills.values()) <= windows * float(LIMIT) * NANO
    for tenant, cost in bills.items():
        assert cost <= windows * float(TENANT_LIMIT) * NANO, tenant


def _books_agree(bed: Bed) -> bool:
    """Nothing held, and everybody charged at least the bill."""
    accounts, charged, bills = bed.accounts(), bed.charged(), _bills(bed)
    held = any(lease.held for windows in accounts.values() for a in windows for lease in a.open.values())
    short = [t for t, cost in bills.items() if charged.get(f"{ROUTES}/route:watched/each/{t}", 0) < cost]
    return not held and not short and charged[ROUTE] >= sum(bills.values())
