"""Envoy resources from plain dictionaries: checked against Envoy's own types, and the same bytes for the same input.

An `Any` that protobuf's JSON parser packs holds maps in no certain order, and the order shows in the content hash that is a resource's
version. So every `Any` is packed once more, inside out, in the deterministic encoding.
"""

from __future__ import annotations

import base64
import importlib
import json
from functools import cache
from typing import Any, TypeVar

from google.protobuf import any_pb2, descriptor_pool, json_format, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

URL = "type.googleapis.com/"

CLUSTER = URL + "envoy.config.cluster.v3.Cluster"
LISTENER = URL + "envoy.config.listener.v3.Listener"
EXTENSION = URL + "envoy.config.core.v3.TypedExtensionConfig"
SECRET = URL + "envoy.extensions.transport_sockets.tls.v3.Secret"

# Types that stand inside an `Any` are known to protobuf only once the module that holds them was imported.
_MODULES = (
    "envoy.config.cluster.v3.cluster_pb2",
    "envoy.config.core.v3.extension_pb2",
    "envoy.config.listener.v3.listener_pb2",
    "envoy.extensions.access_loggers.file.v3.file_pb2",
    "envoy.extensions.access_loggers.stream.v3.stream_pb2",
    "envoy.extensions.filters.http.buffer.v3.buffer_pb2",
    "envoy.extensions.filters.http.credential_injector.v3.credential_injector_pb2",
    "envoy.extensions.filters.http.dynamic_modules.v3.dynamic_modules_pb2",
    "envoy.extensions.filters.http.header_mutation.v3.header_mutation_pb2",
    "envoy.extensions.filters.http.upstream_codec.v3.upstream_codec_pb2",
    "envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2",
    "envoy.extensions.http.injected_credentials.generic.v3.generic_pb2",
    "envoy.extensions.transport_sockets.tls.v3.secret_pb2",
    "envoy.extensions.transport_sockets.tls.v3.tls_pb2",
    "envoy.extensions.upstreams.http.v3.http_protocol_options_pb2",
    "google.protobuf.wrappers_pb2",
)

M = TypeVar("M", bound=Message)


def encode(type_url: str, document: dict[str, Any]) -> bytes:
    """The bytes of one resource. Raises `google.protobuf.json_format.ParseError` when Envoy's type has no such field."""
    message = message_factory.GetMessageClass(_descriptor(type_url))()
    return canonical(json_format.ParseDict(document, message)).SerializeToString(deterministic=True)


def secret(name: str, value: bytes) -> bytes:
    """A generic SDS secret. Its bytes hold the value: they go on the wire and nowhere else."""
    inline = {"inline_bytes": base64.b64encode(value).decode()}
    return encode(SECRET, {"name": name, "generic_secret": {"secret": inline}})


def decode(type_url: str, body: bytes) -> dict[str, Any]:
    """The document that `encode` would make these bytes of, for people and goldens."""
    message = message_factory.GetMessageClass(_descriptor(type_url)).FromString(body)
    document: dict[str, Any] = json.loads(json_format.MessageToJson(message, preserving_proto_field_name=True))
    return document


def canonical(message: M) -> M:
    """Packs every `Any` inside `message` anew, deterministically; changes it in place."""
    if isinstance(message, any_pb2.Any):
        inner = message_factory.GetMessageClass(_descriptor(message.type_url)).FromString(message.value)
        message.value = canonical(inner).SerializeToString(deterministic=True)
        return message
    for field, value in message.ListFields():
        for child in _children(field, value):
            canonical(child)
    return message


def _children(field: FieldDescriptor, value: Any) -> tuple[Message, ...]:
    if field.message_type is None:
        return ()
    if not field.is_repeated:
        return (value,)
    if field.message_type.GetOptions().map_entry:
        return tuple(v for v in value.values() if isinstance(v, Message))
    return tuple(value)


@cache
def _descriptor(type_url: str) -> Any:
    _load()
    return descriptor_pool.Default().FindMessageTypeByName(type_url.removeprefix(URL))


@cache
def _load() -> None:
    for module in _MODULES:
        importlib.import_module(module)
