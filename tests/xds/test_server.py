"""The discovery server over real gRPC: who is let in, what each sidecar may see, what is remembered of it."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import grpc
import pytest
import trustme

from turnout_operator.identity import Identity, ReviewUnavailable, TokenRefused
from turnout_operator.xds import Nodes, Server, Tls, View, Views
from turnout_operator.xds.kind import Kind
from turnout_sidecar.policy.codec import RouteRefused
from turnout_sidecar.policy.report import WIRE, EpochReport, Report
from turnout_sidecar.policy.units import Millis
from turnout_testing.discovery import DiscoveryClient, kind_of, made_view

NOTHING = made_view("nothing")


class Plane:
    """A server on a free port; tokens are ``<namespace>:<pod>``; the test moves the clock."""

    def __init__(self) -> None:
        self.now = Millis(0)
        self.moves = asyncio.Queue[str]()
        self.views = Views()
        self.nodes = Nodes(lambda: self.now, self.moves.put_nowait)
        self.server = Server(
            self.views, self.nodes, self.authenticate, clock=lambda: self.now, wall=lambda: 1_700_000_000_000
        )
        self.port = 0

    async def authenticate(self, token: str) -> Identity:
        if token == "down":
            raise ReviewUnavailable("the token could not be reviewed: no route to host")
        namespace, colon, pod = token.partition(":")
        if not colon:
            raise TokenRefused("mount a projected ServiceAccount token")
        return Identity(namespace=namespace, service_account="app", pod=pod, pod_uid=f"uid-{pod}")

    async def until(self, namespace: str, policy: str, programmed: int) -> None:
        async with asyncio.timeout(10):
            while self.nodes.progress(namespace, policy).programmed != programmed:
                await self.moves.get()


@asynccontextmanager
async def plane(views: Mapping[str, View] | None = None) -> AsyncIterator[Plane]:
    made = Plane()
    made.port = await made.server.start("127.0.0.1:0")
    if views is not None:
        made.views.publish(views, NOTHING)
    try:
        yield made
    finally:
        await made.server.stop()


async def take_all(client: DiscoveryClient) -> list[Kind]:
    """Subscribes like Envoy and takes everything up to the policy; the kinds in the order they came."""
    await client.subscribe(Kind.CLUSTER)
    await client.subscribe(Kind.LISTENER)
    await client.subscribe(Kind.EXTENSION, ["turnout-engine"])
    seen: list[Kind] = []
    while not seen or seen[-1] is not Kind.EXTENSION:
        response = await client.receive()
        seen.append(kind_of(response))
        await client.ack(response, ["turnout-engine"] if seen[-1] is Kind.EXTENSION else [])
    return seen


def test_a_sidecar_is_programmed_once_it_took_its_policy() -> None:
    async def scene() -> None:
        async with plane({"a": made_view("p1", ["c1"])}) as p, DiscoveryClient(p.port, "a:pod-1") as client:
            assert await take_all(client) == [Kind.CLUSTER, Kind.LISTENER, Kind.EXTENSION]
            await p.until("a", "p1", 1)
            state = p.nodes.states("a")[0]
            assert (state.connected, state.version, state.identity.pod) == (True, "0.1.0", "pod-1")

    asyncio.run(scene())


def test_a_new_view_is_pushed_to_the_streams_of_its_namespace_and_to_no_other() -> None:
    async def scene() -> None:
        views = {"a": made_view("a1"), "b": made_view("b1")}
        async with (
            plane(views) as p,
            DiscoveryClient(p.port, "a:x") as one,
            DiscoveryClient(p.port, "b:y", "sidecar-b") as other,
        ):
            await take_all(one)
            await take_all(other)
            p.views.publish(views | {"a": made_view("a2")}, NOTHING)
            response = await one.receive()
            assert b"a2" in response.resources[0].value
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.2):
                    await other.receive()

    asyncio.run(scene())


def test_a_sidecar_sees_nothing_of_other_namespaces_whatever_names_it_asks_for() -> None:
    async def scene() -> None:
        views = {
            "a": made_view("a1", ["ca"], {"key-a": "SECRET-A"}),
            "b": made_view("b1", ["cb"], {"key-b": "SECRET-B"}),
        }
        async with plane(views) as p, DiscoveryClient(p.port, "a:x") as client:
            await client.subscribe(Kind.SECRET, ["key-a", "key-b"])
            response = await client.receive()
            assert b"SECRET-A" in response.SerializeToString()
            assert b"SECRET-B" not in response.SerializeToString()
            await client.subscribe(Kind.CLUSTER, ["cb"])
            assert b"cb" not in (await client.receive()).SerializeToString()

    asyncio.run(scene())


def test_nothing_is_sent_before_the_control_plane_has_read_its_manifests() -> None:
    async def scene() -> None:
        async with plane() as p, DiscoveryClient(p.port, "a:x") as client:
            await client.subscribe(Kind.CLUSTER)
            receiving = asyncio.create_task(client.receive())
            done, _ = await asyncio.wait({receiving}, timeout=0.2)
            assert not done
            p.views.publish({}, NOTHING)
            assert kind_of(await receiving) is Kind.CLUSTER

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("token", "metadata", "code", "words"),
    [
        ("", {"turnout.dev/policy-schemas": [1]}, grpc.StatusCode.UNAUTHENTICATED, "no bearer token"),
        ("nobody", {"turnout.dev/policy-schemas": [1]}, grpc.StatusCode.UNAUTHENTICATED, "projected ServiceAccount"),
        ("down", {"turnout.dev/policy-schemas": [1]}, grpc.StatusCode.UNAVAILABLE, "could not be reviewed"),
        ("a:x", {"turnout.dev/policy-schemas": [99]}, grpc.StatusCode.FAILED_PRECONDITION, "reads policy schemas [99]"),
        ("a:x", {}, grpc.StatusCode.FAILED_PRECONDITION, "upgrade the older"),
        (
            "a:x",
            {"turnout.dev/policy-schemas": [1], "turnout.dev/namespace": "b"},
            grpc.StatusCode.PERMISSION_DENIED,
            "its token is of a",
        ),
    ],
    ids=["no token", "unknown token", "no reviewer", "unknown schema", "no schema", "foreign namespace"],
)
def test_a_stream_is_refused_with_words(
    token: str, metadata: dict[str, object], code: grpc.StatusCode, words: str
) -> None:
    async def scene() -> None:
        async with plane({"a": made_view("p1")}) as p, DiscoveryClient(p.port, token, metadata=metadata) as client:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await client.subscribe(Kind.CLUSTER)
                await client.receive()
            assert refused.value.code() is code
            assert words in str(refused.value.details())
            assert token not in str(refused.value.details()) or token in ("", "a:x", "down")

    asyncio.run(scene())


def test_a_sidecar_that_was_turned_away_counts_as_not_programmed_and_says_why() -> None:
    async def scene() -> None:
        metadata = {"turnout.dev/policy-schemas": [99]}
        async with plane({"a": made_view("p1")}) as p, DiscoveryClient(p.port, "a:x", metadata=metadata) as client:
            with pytest.raises(grpc.aio.AioRpcError):
                await client.subscribe(Kind.CLUSTER)
                await client.receive()
            progress = p.nodes.progress("a", "p1")
            assert (progress.connected, progress.programmed) == (1, 0)
            assert "reads policy schemas [99]" in progress.complaints[0]

    asyncio.run(scene())


def test_a_refusal_is_kept_with_envoys_words_and_the_sidecars_own() -> None:
    async def scene() -> None:
        async with plane({"a": made_view("p1")}) as p, DiscoveryClient(p.port, "a:x") as client:
            await take_all(client)
            p.views.publish({"a": made_view("p2")}, NOTHING)
            response = await client.receive()
            await client.nack(response, "Failed to initialize dynamic module", ["turnout-engine"])
            async with asyncio.timeout(10):
                while not p.nodes.states("a")[0].complaints:
                    await p.moves.get()
            report = Report(
                wire=WIRE,
                sequence=1,
                epoch=EpochReport(epoch="e", accounts=()),
                policy_version="p1",
                refused_version="p2",
                refused_words="policy schema 9 is not among those this sidecar reads",
                refused_routes=(RouteRefused(route="a/r", generation=3, reason="Expected `int`"),),
            )
            p.nodes.report(p.nodes.states("a")[0].identity, report)
            progress = p.nodes.progress("a", "p2")
            assert (progress.connected, progress.programmed) == (1, 0)
            assert progress.complaints == (
                "sidecar-a: policy p2: policy schema 9 is not among those this sidecar reads",
                "sidecar-a: route a/r generation 3: Expected `int`",
                f"sidecar-a: TypedExtensionConfig {response.version_info}: Failed to initialize dynamic module",
            )
            assert p.nodes.progress("a", "p1").programmed == 1

    asyncio.run(scene())


def test_a_replaced_cluster_is_dropped_when_the_clock_says_so() -> None:
    async def scene() -> None:
        view = made_view("p1", ["c1"], longest=60_000)
        async with plane({"a": view}) as p, DiscoveryClient(p.port, "a:x") as client:
            await take_all(client)
            p.views.publish({"a": made_view("p2", ["c2"])}, NOTHING)
            both = await client.receive()
            assert len(both.resources) == 2
            await client.ack(both)
            await client.ack(await client.receive(), ["turnout-engine"])
            await p.until("a", "p2", 1)
            p.now = Millis(p.now + 60_000)
            p.views.poke()
            response = await client.receive()
            assert kind_of(response) is Kind.CLUSTER
            assert len(response.resources) == 1

    asyncio.run(scene())


def test_a_sidecar_that_leaves_is_not_counted() -> None:
    async def scene() -> None:
        async with plane({"a": made_view("p1")}) as p:
            async with DiscoveryClient(p.port, "a:x") as client:
                await take_all(client)
                await p.until("a", "p1", 1)
            await p.until("a", "p1", 0)
            assert p.nodes.progress("a", "p1").connected == 0

    asyncio.run(scene())


def test_many_sidecars_share_one_view_and_all_are_programmed() -> None:
    async def scene() -> None:
        async with plane({"a": made_view("p1", ["c1"])}) as p:
            clients = [DiscoveryClient(p.port, f"a:pod-{i}", f"sidecar-{i}") for i in range(50)]
            for client in clients:
                await client.__aenter__()
            await asyncio.gather(*(take_all(client) for client in clients))
            await p.until("a", "p1", 50)
            for client in clients:
                await client.__aexit__(None, None, None)

    asyncio.run(scene())


def test_the_stream_is_encrypted_where_a_certificate_is_given() -> None:
    async def scene() -> None:
        authority = trustme.CA()
        issued = authority.issue_cert("127.0.0.1")
        made = Plane()
        chain = b"".join(blob.bytes() for blob in issued.cert_chain_pems)
        made.views.publish({"a": made_view("p1")}, NOTHING)
        port = await made.server.start("127.0.0.1:0", Tls(chain=chain, key=issued.private_key_pem.bytes()))
        try:
            async with DiscoveryClient(port, "a:x", authority=authority.cert_pem.bytes()) as client:
                assert await take_all(client) == [Kind.CLUSTER, Kind.LISTENER, Kind.EXTENSION]
        finally:
            await made.server.stop()

    asyncio.run(scene())


def test_a_taken_port_is_an_error_at_start() -> None:
    async def scene() -> None:
        async with plane() as p:
            with pytest.raises(OSError, match="cannot listen on"):
                await Plane().server.start(f"127.0.0.1:{p.port}")

    asyncio.run(scene())
