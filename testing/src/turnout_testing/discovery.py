"""Views made by hand and a discovery client, for tests of the xDS server that need no Envoy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc
import grpc.aio
from envoy.service.discovery.v3 import ads_pb2_grpc
from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest  # type: ignore[attr-defined] # made at import

from turnout_operator.redacted import Redacted
from turnout_operator.render.envoy import message
from turnout_operator.xds.kind import Kind
from turnout_operator.xds.view import Item, View
from turnout_sidecar.policy.units import Millis


def made_view(
    policy: str, clusters: Sequence[str] = (), keys: Mapping[str, str] | None = None, longest: int = 10_000
) -> View:
    """A view whose policy document is the word `policy`, with clusters and keys of these names."""
    cluster_items = {name: _item(name, message.encode(message.CLUSTER, {"name": name})) for name in clusters}
    key_items = {
        name: Item(name=name, body=Redacted(message.secret(name, value.encode())), version=f"v-{value}")
        for name, value in (keys or {}).items()
    }
    document = {"@type": message.URL + "google.protobuf.StringValue", "value": policy}
    extension = message.encode(message.EXTENSION, {"name": "turnout-engine", "typed_config": document})
    listener = message.encode(message.LISTENER, {"name": "turnout-ingress"})
    return View(
        items={
            Kind.CLUSTER: cluster_items,
            Kind.SECRET: key_items,
            Kind.LISTENER: {"turnout-ingress": _item("turnout-ingress", listener)},
            Kind.EXTENSION: {"turnout-engine": _item("turnout-engine", extension)},
        },
        policy_version=policy,
        longest=Millis(longest),
    )


def _item(name: str, body: bytes) -> Item:
    return Item(name=name, body=body, version=f"v-{hash(body):x}")


NODE_METADATA: Mapping[str, Any] = {"turnout.dev/policy-schemas": [1], "turnout.dev/version": "0.1.0"}


class DiscoveryClient:
    """One aggregated stream as a sidecar opens it; the test answers each response itself. Use as `async with`."""

    def __init__(
        self,
        port: int,
        token: str = "",
        node: str = "sidecar-a",
        metadata: Mapping[str, Any] = NODE_METADATA,
        authority: bytes | None = None,
    ) -> None:
        self._port, self._token, self._node, self._metadata = port, token, node, metadata
        self._authority = authority
        self._greeted = False

    async def __aenter__(self) -> Self:
        self._channel = self._dial(f"127.0.0.1:{self._port}")
        stub: Any = ads_pb2_grpc.AggregatedDiscoveryServiceStub
        headers = (("authorization", f"Bearer {self._token}"),) if self._token else ()
        self._call = stub(self._channel).StreamAggregatedResources(metadata=headers)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, e: BaseException | None, t: TracebackType | None
    ) -> None:
        self._call.cancel()
        await self._channel.close()

    def _dial(self, target: str) -> Any:
        if self._authority is None:
            return grpc.aio.insecure_channel(target)
        credentials: Any = grpc.ssl_channel_credentials
        return grpc.aio.secure_channel(target, credentials(self._authority))

    async def subscribe(self, kind: Kind, names: Sequence[str] = (), version: str = "") -> None:
        """The first request for a kind; `version` is what a reconnecting sidecar still has."""
        await self._send(type_url=kind.value, resource_names=list(names), version_info=version)

    async def receive(self) -> Any:
        """The next `DiscoveryResponse`. Raises `grpc.aio.AioRpcError` when the stream was refused."""
        response = await self._call.read()
        if response is grpc.aio.EOF:
            code, words = await self._call.code(), await self._call.details()
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), grpc.aio.Metadata(), details=words)
        return response

    async def ack(self, response: Any, names: Sequence[str] = ()) -> None:
        """Takes the response."""
        await self._answer(response, names)

    async def nack(self, response: Any, words: str, names: Sequence[str] = ()) -> None:
        """Refuses the response."""
        await self._answer(response, names, error_detail={"code": 13, "message": words}, version_info="")

    async def _answer(self, response: Any, names: Sequence[str], **more: Any) -> None:
        fields = {"version_info": response.version_info} | more
        await self._send(
            type_url=response.type_url, response_nonce=response.nonce, resource_names=list(names), **fields
        )

    async def _send(self, **fields: Any) -> None:
        if not self._greeted:
            fields["node"] = {"id": self._node, "metadata": dict(self._metadata)}
            self._greeted = True
        await self._call.write(DiscoveryRequest(**fields))


def kind_of(response: Any) -> Kind:
    """Of a `DiscoveryResponse`."""
    return Kind(response.type_url)
