"""One client for the API server: plain JSON objects in and out, every failure mapped once.

Blocking; callers on a loop use a thread. Requests have a timeout, because a hung API server must not hang us.
"""

import json
import ssl
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import urllib3
from kubernetes import client, config

from turnout_operator.kube.resources import FIELD_MANAGER, Resource

Object = dict[str, Any]
_TIMEOUT = (5.0, 30.0)
"""Seconds for connecting and for an answer."""
_PAGE = 500


class ApiError(Exception):
    """The API server refused. `status` is HTTP's, `reason` Kubernetes' word for it."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(ApiError):  # noqa: N818 - Kubernetes' word
    pass


class Conflict(ApiError):  # noqa: N818 - Kubernetes' word
    pass


class Forbidden(ApiError):  # noqa: N818 - Kubernetes' word
    pass


class Unreachable(Exception):  # noqa: N818
    """No answer came: refused, reset or timed out. What was asked may or may not have happened."""


_BY_STATUS: Mapping[int, type[ApiError]] = {403: Forbidden, 404: NotFound, 409: Conflict}


class Client:
    """Thread-safe. `configuration` comes from `connect`."""

    def __init__(self, configuration: client.Configuration, timeout: tuple[float, float] = _TIMEOUT) -> None:
        self._api = client.ApiClient(configuration)
        self._timeout = timeout
        self.configuration = configuration

    def with_timeout(self, seconds: float) -> "Client":
        """The same server and rights on connections of its own, for a caller who must know sooner."""
        return Client(self.configuration, (seconds, seconds))

    def get(self, resource: Resource, namespace: str | None, name: str) -> Object:
        return self._object("GET", resource.path(namespace, name))

    def find(self, resource: Resource, namespace: str | None, name: str) -> Object | None:
        """The object, or None where there is none."""
        try:
            return self.get(resource, namespace, name)
        except NotFound:
            return None

    def every(self, resource: Resource, namespace: str | None = None, labels: str = "") -> Iterator[Object]:
        """All objects, page by page, with `apiVersion` and `kind` filled in (a list leaves them out)."""
        query: list[tuple[str, str]] = [("limit", str(_PAGE))]
        if labels:
            query.append(("labelSelector", labels))
        token = ""
        while True:
            page = self._call(
                "GET", resource.path(namespace), query=[*query, *([("continue", token)] if token else [])]
            )
            for item in page["items"]:
                yield {"apiVersion": resource.api_version, "kind": resource.kind, **item}
            token = page["metadata"].get("continue", "")
            if not token:
                return

    def create(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        return self._object("POST", resource.path(namespace), body=body)

    def replace(self, resource: Resource, namespace: str | None, body: Object) -> Object:
        """PUT; a `resourceVersion` in the body makes it a compare-and-swap that raises `Conflict`."""
        return self._object("PUT", resource.path(namespace, body["metadata"]["name"]), body=body)

    def delete(self, resource: Resource, namespace: str | None, name: str) -> None:
        """Gone afterwards, also when it was not there."""
        try:
            self._call("DELETE", resource.path(namespace, name), body={"propagationPolicy": "Background"})
        except NotFound:
            return

    def apply(self, resource: Resource, body: Object, subresource: str | None = None) -> Object:
        """Server-side apply of exactly the fields in `body`, by one field manager, taking them over where need be."""
        metadata = body["metadata"]
        return self._object(
            "PATCH",
            resource.path(metadata.get("namespace"), metadata["name"], subresource),
            body=body,
            query=[("fieldManager", FIELD_MANAGER), ("force", "true")],
            content_type="application/apply-patch+yaml",
        )

    def merge(
        self, resource: Resource, namespace: str | None, name: str, patch: Object, subresource: str | None = None
    ) -> Object:
        """JSON merge patch; `metadata.resourceVersion` inside makes it conditional."""
        return self._object(
            "PATCH",
            resource.path(namespace, name, subresource),
            body=patch,
            query=[("fieldManager", FIELD_MANAGER)],
            content_type="application/merge-patch+json",
        )

    def bearer_token(self) -> str:
        """The token as it is now (it rotates), without its scheme; empty where certificates are used."""
        value = self.configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or ""
        return str(value).removeprefix("Bearer ").removeprefix("bearer ")

    def ready(self) -> bool:
        """True when the API server answers at all."""
        try:
            self._call("GET", "/version")
        except (ApiError, Unreachable):
            return False
        return True

    def _object(self, method: str, path: str, **options: Any) -> Object:
        answer = self._call(method, path, **options)
        assert isinstance(answer, dict), "an object or a list was asked for"
        return answer

    def _call(
        self,
        method: str,
        path: str,
        *,
        query: list[tuple[str, str]] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Any:
        # The library encodes JSON bodies itself and sends text as it is; JSON is YAML, so an apply goes as text.
        payload = json.dumps(body) if content_type.endswith("+yaml") else body
        request = self._api.param_serialize(
            method,
            path,
            query_params=query or [],
            header_params={"Accept": "application/json", "Content-Type": content_type},
            body=payload,
            auth_settings=["BearerToken"],
        )
        try:
            response = self._api.call_api(*request, _request_timeout=self._timeout)
            data = response.read()
        except (urllib3.exceptions.HTTPError, OSError, ssl.SSLError) as e:
            raise Unreachable(f"{method} {path}: {e}") from e
        except client.ApiException as e:
            raise Unreachable(f"{method} {path}: {e.reason}") from e
        if not 200 <= response.status <= 299:
            raise _mapped(response.status, response.reason or "", data)
        return json.loads(data)


def connect(kubeconfig: Path | None = None) -> Client:
    """From a kubeconfig, or from inside the cluster where none is given. The token file is re-read as it rotates."""
    configuration = client.Configuration()
    if kubeconfig is None:
        config.load_incluster_config(client_configuration=configuration)
        configuration.proxy = None  # the API server's address inside the cluster is behind no proxy
    else:
        config.load_kube_config(str(kubeconfig), client_configuration=configuration)
    configuration.retries = False
    return Client(configuration)


def _mapped(code: int, phrase: str, data: bytes) -> ApiError:
    try:
        status = json.loads(data or b"{}")
    except ValueError:
        status = {}
    kind = _BY_STATUS.get(code, ApiError)
    return kind(code, status.get("reason") or phrase, status.get("message") or data.decode(errors="replace")[:500])
