"""The discovery server: gRPC around `Conversation`. It authenticates, reads, writes and counts; what to send is decided elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryResponse  # type: ignore[attr-defined] # made at import
from google.protobuf import any_pb2, json_format

from turnout_operator import metrics
from turnout_operator.identity import Authenticate, Identity, ReviewUnavailable, TokenRefused
from turnout_operator.xds.conversation import Conversation, Push, Request
from turnout_operator.xds.kind import KINDS
from turnout_operator.xds.node import NodeRecord
from turnout_operator.xds.nodes import Nodes
from turnout_operator.xds.views import Views
from turnout_sidecar.policy.model import SCHEMA
from turnout_sidecar.policy.units import Millis

SCHEMAS = "turnout.dev/policy-schemas"
NAMESPACE = "turnout.dev/namespace"
VERSION = "turnout.dev/version"

RENDERED_SCHEMAS = (SCHEMA,)
"""Policy schemas that can be rendered: N and, once there is one, N-1."""

_OPTIONS = (
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.max_send_message_length", -1),
    ("grpc.so_reuseport", 0),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """PEM bytes of the server's certificate chain and private key."""

    chain: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Tls([redacted])"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refused(Exception):  # noqa: N818
    """Ends a stream with a status; `reason` is the metric's label."""

    code: grpc.StatusCode
    reason: str
    words: str


class Server:
    """Aggregated discovery, state of the world. `clock` is monotonic, `wall` unix, both in milliseconds."""

    def __init__(
        self,
        views: Views,
        nodes: Nodes,
        authenticate: Authenticate,
        *,
        clock: Callable[[], Millis],
        wall: Callable[[], int],
    ) -> None:
        self._views = views
        self._nodes = nodes
        self._authenticate = authenticate
        self._clock = clock
        self._wall = wall
        self._server: grpc.aio.Server | None = None
        self._closing = asyncio.Event()

    async def start(self, address: str, tls: Tls | None = None) -> int:
        """Listens on ``host:port`` (port 0: any free one) and returns the port. Raises OSError when it is taken."""
        server = grpc.aio.server(options=_OPTIONS)
        register: Any = ads_pb2_grpc.add_AggregatedDiscoveryServiceServicer_to_server
        register(_Servicer(self._stream), server)
        try:
            port = _bind(server, address, tls)
        except RuntimeError as e:
            raise OSError(f"cannot listen on {address}: {e}") from e
        await server.start()
        self._server = server
        return port

    async def stop(self, grace: float = 1.0) -> None:
        """Ends all streams, after at most `grace` seconds; sidecars go on with what they have."""
        self._closing.set()
        if self._server is not None:
            await self._server.stop(grace)
            self._server = None

    async def _stream(self, requests: AsyncIterator[Any], context: Any) -> None:
        try:
            identity = await self._identity(context)
            first = await anext(aiter(requests), None)
            if first is not None:
                await self._serve(identity, first, requests, context)
        except _Refused as refused:
            metrics.XDS_REFUSED.labels(refused.reason).inc()
            await context.abort(refused.code, refused.words)

    async def _identity(self, context: Any) -> Identity:
        metadata = dict(context.invocation_metadata() or ())
        scheme, _, token = str(metadata.get("authorization", "")).partition(" ")
        if scheme.lower() != "bearer" or not token:
            words = "no bearer token in the authorization metadata"
            raise _Refused(code=grpc.StatusCode.UNAUTHENTICATED, reason="no_token", words=words)
        try:
            return await self._authenticate(token)
        except TokenRefused as e:
            raise _Refused(code=grpc.StatusCode.UNAUTHENTICATED, reason="token_refused", words=str(e)) from e
        except ReviewUnavailable as e:
            raise _Refused(code=grpc.StatusCode.UNAVAILABLE, reason="review_unavailable", words=str(e)) from e

    async def _serve(self, identity: Identity, first: Any, requests: AsyncIterator[Any], context: Any) -> None:
        record = self._admit(identity, first)
        woken = self._views.watch(identity.namespace)
        metrics.XDS_CONNECTED.inc()
        conversation = Conversation(record)
        self._take(conversation, record, first)
        writer = asyncio.create_task(self._write(conversation, identity.namespace, woken, context))
        reader = asyncio.create_task(self._read(conversation, record, requests, woken))
        closing = asyncio.create_task(self._closing.wait())
        try:
            done, _ = await asyncio.wait({writer, reader, closing}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        finally:
            for task in (writer, reader, closing):
                task.cancel()
            await asyncio.gather(writer, reader, closing, return_exceptions=True)
            metrics.XDS_CONNECTED.dec()
            self._views.unwatch(identity.namespace, woken)
            self._nodes.departed(record)

    def _admit(self, identity: Identity, first: Any) -> NodeRecord:
        metadata = json_format.MessageToDict(first.node.metadata)
        if fault := _fault(identity, metadata):
            self._nodes.turned_away(identity, first.node.id, fault.words)
            raise fault
        return self._nodes.arrived(identity, first.node.id, str(metadata.get(VERSION, "")))

    async def _read(
        self, conversation: Conversation, record: NodeRecord, requests: AsyncIterator[Any], woken: asyncio.Event
    ) -> None:
        async for request in requests:
            self._take(conversation, record, request)
            woken.set()

    def _take(self, conversation: Conversation, record: NodeRecord, message: Any) -> None:
        kind = KINDS.get(message.type_url)
        if kind is None:
            return  # a kind that this server has nothing of: Envoy waits for it in vain, as the protocol demands
        request = Request(
            kind=kind,
            names=frozenset(message.resource_names),
            version=message.version_info,
            nonce=message.response_nonce,
            error=message.error_detail.message if message.HasField("error_detail") else None,
        )
        verdict = conversation.request(request, self._clock(), self._wall())
        if verdict is not None:
            (metrics.XDS_ACKS if verdict else metrics.XDS_NACKS).labels(kind.word).inc()
            self._nodes.moved(record)

    async def _write(self, conversation: Conversation, namespace: str, woken: asyncio.Event, context: Any) -> None:
        while True:
            woken.clear()
            view = self._views.of(namespace)
            for push in conversation.due(view, self._clock()) if view is not None else ():
                metrics.XDS_PUSHES.labels(push.kind.word).inc()
                await context.write(_response(push))
            await self._sleep(conversation.wake(), woken)

    async def _sleep(self, until: Millis | None, woken: asyncio.Event) -> None:
        timeout = None if until is None else max(0.0, (until - self._clock()) / 1_000)
        try:
            async with asyncio.timeout(timeout):
                await woken.wait()
        except TimeoutError:
            return


def _fault(identity: Identity, metadata: dict[str, Any]) -> _Refused | None:
    """Why this sidecar cannot be served, in words for whoever deployed it."""
    reads = [int(s) for s in metadata.get(SCHEMAS) or [] if isinstance(s, float | int)]
    if not set(reads) & set(RENDERED_SCHEMAS):
        words = f"this sidecar reads policy schemas {reads}, this operator writes {list(RENDERED_SCHEMAS)}: upgrade the older of the two"
        return _Refused(code=grpc.StatusCode.FAILED_PRECONDITION, reason="schema", words=words)
    claimed = metadata.get(NAMESPACE)
    if claimed and claimed != identity.namespace:
        words = f"this sidecar says that it runs in {claimed}, but its token is of {identity.namespace}"
        return _Refused(code=grpc.StatusCode.PERMISSION_DENIED, reason="namespace", words=words)
    return None


def _response(push: Push) -> Any:
    url = push.kind.value
    resources = [any_pb2.Any(type_url=url, value=item.bytes) for item in push.items]
    return DiscoveryResponse(version_info=push.version, type_url=url, nonce=push.nonce, resources=resources)


def _bind(server: grpc.aio.Server, address: str, tls: Tls | None) -> int:
    if tls is None:
        return int(server.add_insecure_port(address))
    credentials: Any = grpc.ssl_server_credentials
    return int(server.add_secure_port(address, credentials([(tls.key, tls.chain)])))


class _Servicer(ads_pb2_grpc.AggregatedDiscoveryServiceServicer):
    """The stub's shape; incremental discovery is not offered."""

    def __init__(self, stream: Callable[[AsyncIterator[Any], Any], Any]) -> None:
        self._stream = stream

    async def StreamAggregatedResources(self, request_iterator: AsyncIterator[Any], context: Any) -> None:  # noqa: N802
        await self._stream(request_iterator, context)
