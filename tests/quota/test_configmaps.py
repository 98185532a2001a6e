"""The ledger in ConfigMaps of a real API server: compare-and-swap, two services, and SIGKILL at every write."""

import asyncio
import json
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from turnout_operator.identity import Identity
from turnout_operator.ir import QuotaLimit, Window
from turnout_operator.kube.client import Client, connect
from turnout_operator.kube.ledger import KEY, LABEL, ConfigMapStore
from turnout_operator.kube.resources import CONFIG_MAPS
from turnout_operator.quota import limits
from turnout_operator.quota.lane import Pace
from turnout_operator.quota.ports import Conflict, Stored, StoreUnavailable
from turnout_operator.quota.service import LeaseService
from turnout_sidecar.core.budget import Book, Hold
from turnout_sidecar.policy.model import Scope
from turnout_sidecar.policy.report import WIRE, Report
from turnout_sidecar.policy.units import Millis, NanoUSD
from turnout_testing.controlplane import ControlPlane

NOON = 1_795_262_400_000
PACE = Pace(linger=0, spacing=0)


def limit(amount: int, account: str = "shop/route:chat/day", scope: Scope = Scope.ROUTE) -> QuotaLimit:
    return QuotaLimit(
        account=account, name="day", scope=scope, amount=NanoUSD(amount), window=Window.DAY, time_zone="UTC"
    )


@pytest.fixture
def client(control_plane: ControlPlane) -> Client:
    return connect(control_plane.admin_kubeconfig)


@pytest.fixture
def store(client: Client, namespace: str) -> Iterator[ConfigMapStore]:
    made = ConfigMapStore(client, namespace)
    yield made
    made.close()


async def spend(service: LeaseService, book: Book, amount: int, account: str = "shop/route:chat/day/-") -> bool:
    for sequence in range(4):
        hold = book.hold(((account, NanoUSD(amount)),), Millis(0))
        if isinstance(hold, Hold):
            book.settle(hold, NanoUSD(amount))
            return True
        told = Report(wire=WIRE, sequence=sequence, epoch=book.report(Millis(0)))
        identity = Identity(namespace="shop", service_account=book.epoch)
        book.apply((await service.report(identity, told, NOON)).grants, Millis(0))
    return False


def test_a_swap_needs_the_version_it_was_computed_from(store: ConfigMapStore, client: Client, namespace: str) -> None:
    async def run() -> None:
        assert await store.load("0") is None
        first = await store.swap("0", b"{}", None)
        with pytest.raises(Conflict):
            await store.swap("0", b"again", None)
        second = await store.swap("0", b"two", first)
        with pytest.raises(Conflict):
            await store.swap("0", b"late", first)
        assert await store.load("0") == Stored(b"two", second)
        assert await store.prefixes() == ("0",)
        client.delete(CONFIG_MAPS, namespace, "turnout-ledger-0")
        with pytest.raises(Conflict):
            await store.swap("0", b"three", second)

    asyncio.run(run())


def test_a_shard_belongs_to_no_route_and_is_found_by_its_label(
    store: ConfigMapStore, client: Client, namespace: str
) -> None:
    asyncio.run(store.swap("7", b"{}", None))
    (found,) = client.every(CONFIG_MAPS, namespace, f"{LABEL}=true")
    assert "ownerReferences" not in found["metadata"]
    assert found["data"] == {KEY: "{}"}


def test_two_services_share_every_account(store: ConfigMapStore) -> None:
    async def run() -> None:
        services = [LeaseService(store, pace=PACE) for _ in range(2)]
        for service in services:
            service.set_limits(limits.everywhere([limit(1_000)]))
        books = [Book(epoch=f"e{i}") for i in range(4)]

        async def sidecar(i: int) -> int:
            return sum([await spend(services[i % 2], books[i], 20) for _ in range(20)])

        spent = sum(await asyncio.gather(*(sidecar(i) for i in range(4)))) * 20
        assert 900 <= spent <= 1_000
        assert services[0].counts.conflicts + services[1].counts.conflicts > 0

    asyncio.run(run())


def test_no_shard_outgrows_32_kibibytes(store: ConfigMapStore, client: Client, namespace: str) -> None:
    async def run() -> None:
        service = LeaseService(store, pace=PACE)
        tenants = limit(1_000, "shop/route:chat/tenant", Scope.TENANT)
        service.set_limits(limits.everywhere([tenants]))
        book = Book(epoch="many")
        names = [f"shop/route:chat/tenant/tenant-with-quite-a-long-name-{i}" for i in range(2_500)]
        for name in names:
            book.want(name, NanoUSD(10), Millis(0))
        identity = Identity(namespace="shop", service_account="many")
        for sequence in range(4):
            told = Report(wire=WIRE, sequence=sequence, epoch=book.report(Millis(0)))
            book.apply((await service.report(identity, told, NOON)).grants, Millis(0))
        assert all(book.free(name) >= 10 for name in names)
        assert service.counts.splits > 0
        (facts,) = await service.budgets([tenants], NOON)
        assert facts.subjects == len(names)
        again = LeaseService(store, pace=PACE)
        again.set_limits(limits.everywhere([tenants]))
        assert (await again.budgets([tenants], NOON))[0].held == facts.held

    asyncio.run(run())
    found = list(client.every(CONFIG_MAPS, namespace, f"{LABEL}=true"))
    assert max(len(item["data"][KEY]) + len(json.dumps(item["metadata"])) for item in found) <= 32 * 1024


def test_while_the_api_server_refuses_nothing_is_granted(client: Client) -> None:
    async def run() -> None:
        store = ConfigMapStore(client, "no-such-namespace")
        with pytest.raises(StoreUnavailable, match="no-such-namespace"):
            await store.swap("0", b"{}", None)
        service = LeaseService(store, pace=PACE)
        service.set_limits(limits.everywhere([limit(1_000)]))
        assert not await spend(service, Book(epoch="e"), 10)
        store.close()

    asyncio.run(run())


CHILD = """
import asyncio, os, signal, sys
from pathlib import Path
from turnout_operator.identity import Identity
from turnout_operator.ir import QuotaLimit, Window
from turnout_operator.kube.client import connect
from turnout_operator.kube.ledger import ConfigMapStore
from turnout_operator.quota import limits
from turnout_operator.quota.lane import Pace
from turnout_operator.quota.service import LeaseService
from turnout_operator.quota.shard import digits
from turnout_sidecar.core import wal
from turnout_sidecar.core.budget import Book, Hold
from turnout_sidecar.policy.model import Scope
from turnout_sidecar.policy.report import WIRE, Report

kubeconfig, namespace, volume, epoch, write, when = sys.argv[1:]

class Dying(ConfigMapStore):
    writes = 0
    async def swap(self, prefix, content, expected):
        self.writes += 1
        if self.writes == int(write) and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        version = await super().swap(prefix, content, expected)
        if self.writes == int(write) and when == "after":
            os.kill(os.getpid(), signal.SIGKILL)
        return version

async def run():
    store = Dying(connect(Path(kubeconfig)), namespace)
    service = LeaseService(store, pace=Pace(linger=0, spacing=0, bytes=600))
    service.set_limits(limits.everywhere([QuotaLimit(
        account="shop/route:chat/tenant", name="day", scope=Scope.TENANT, amount=1000, window=Window.DAY, time_zone="UTC")]))
    previous = wal.replay(Path(volume)).epochs
    book = Book(epoch=epoch, record=wal.WriteAheadRecord.open(Path(volume), epoch))
    identity = Identity(namespace="shop", service_account="gateway")
    # Six tenants of one shard, so that it splits on the way.
    tenants = [t for t in range(400) if digits(f"shop/route:chat/tenant/{t}")[0] == "5"][:6]
    for sequence in range(12):
        for tenant in tenants:
            hold = book.hold(((f"shop/route:chat/tenant/{tenant}", 90),), 0)
            if isinstance(hold, Hold):
                print(tenant, flush=True)  # sent: the provider may charge all of it from here on
                book.settle(hold, 90)
        told = Report(wire=WIRE, sequence=sequence, epoch=book.report(0), previous=previous)
        answer = await service.report(identity, told, 1_795_262_400_000)
        book.apply(answer.grants, 0)
        wal.forget(Path(volume), answer.closed_epochs)
        previous = tuple(e for e in previous if e.epoch not in answer.closed_epochs)
    store.close()

asyncio.run(run())
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_killed_at_every_write_no_tenant_is_charged_more_than_its_limit(
    control_plane: ControlPlane, namespace: str, tmp_path_factory: pytest.TempPathFactory, when: str
) -> None:
    """Operator and sidecar die together at one write after the other, through splits as well; each life goes on where the last one fell."""
    volume = tmp_path_factory.mktemp("volume")
    charged: dict[str, int] = {}
    killed = 0
    for life, write in enumerate([1, 2, 3, 1, 2, 4, 8, 12, 16, 17, 18, 1, 2, 3, 10**6]):
        arguments = [str(control_plane.admin_kubeconfig), namespace, str(volume), f"life-{life}", str(write), when]
        child = subprocess.run([sys.executable, "-c", CHILD, *arguments], check=False, capture_output=True, text=True)
        assert child.returncode in (0, -signal.SIGKILL), child.stderr
        killed += child.returncode == -signal.SIGKILL
        for tenant in child.stdout.split():
            charged[tenant] = charged.get(tenant, 0) + 90
    assert killed >= 10
    assert len(charged) == 6
    assert all(900 <= amount <= 1_000 for amount in charged.values()), charged
