"""The discovery server and a real Envoy with the engine: what a sidecar does when things around it fail."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
import yaml

from turnout_operator import compiler, snapshot
from turnout_operator.clusters import SecretKey
from turnout_operator.identity import Identity, TokenRefused
from turnout_operator.render.envoy import Edge, Resource, Resources, message, resources
from turnout_operator.render.envoy.extension import extension
from turnout_operator.serve import keys
from turnout_operator.sim import Sim
from turnout_operator.xds import Nodes, Progress, Server, View, Views, view
from turnout_sidecar.envoy import bootstrap
from turnout_sidecar.policy.units import Millis
from turnout_testing import waiting
from turnout_testing.envoy import Envoy
from turnout_testing.served import local_folder

pytestmark = pytest.mark.envoy
TOKEN = "token-of-the-sidecar"
NOTHING = resources((), (), frozenset(), Edge(port=0))
PATIENCE = 60.0
T = TypeVar("T")


def clock() -> Millis:
    return Millis(time.monotonic_ns() // 1_000_000)


class Plane:
    """A discovery server in a thread, that can be stopped and started again on its port."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.port = 0
        self.start()

    def start(self) -> None:
        """A new process, as it were: nothing is known of sidecars."""
        self.call(self._make)

    def _make(self) -> None:
        self.views = Views()
        self.nodes = Nodes(clock)
        self.server = Server(self.views, self.nodes, self._authenticate, clock=clock, wall=lambda: 0)
        self._task = self._loop.create_task(self._listen())

    async def _listen(self) -> None:
        self.port = await self.server.start(f"127.0.0.1:{self.port}")

    async def _authenticate(self, token: str) -> Identity:
        if token != TOKEN:
            raise TokenRefused("not the sidecar's token")
        return Identity(namespace="support", service_account="app")

    def listening(self) -> int:
        waiting.until(lambda: self._task.done(), what="the server", within=PATIENCE)
        self._task.result()
        return self.port

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self.server.stop(), self._loop).result(PATIENCE)

    def close(self) -> None:
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def publish(self, made: View) -> None:
        other = view(NOTHING, lambda _: None, b"salt")
        self.call(lambda: self.views.publish({"support": made}, other))

    def progress(self, version: str) -> Progress:
        return self.call(lambda: self.nodes.progress("support", version))

    def programmed(self, version: str) -> None:
        waiting.until(lambda: self.progress(version).programmed, what=f"policy {version}", within=PATIENCE)

    def call(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result(PATIENCE)


@pytest.fixture
def plane() -> Iterator[Plane]:
    made = Plane()
    yield made
    made.close()


@pytest.fixture
def sim() -> Iterator[Sim]:
    with Sim() as running:
        yield running


def envoy(plane: Plane, directory: Path) -> Envoy:
    token, sds = directory / "token", directory / "token.json"
    token.write_text(TOKEN)
    sds.write_bytes(bootstrap.encode(bootstrap.token_secret(str(token))))
    document = bootstrap.bootstrap(
        node=bootstrap.Node(id="sidecar-a", namespace="support", version="0.1.0"),
        control=bootstrap.ControlPlane(host="127.0.0.1", xds_port=plane.listening(), report_port=1, token_sds=str(sds)),
        admin=bootstrap.Admin(),
    )
    return Envoy(document, directory / "envoy")


def made_of(folder: Path, edit: tuple[str, str] = ("", "")) -> tuple[Resources, dict[SecretKey, bytes]]:
    documents: list[Any] = [
        m for f in sorted(folder.glob("*.yaml")) for m in yaml.safe_load_all(f.read_text().replace(*edit)) if m
    ]
    made = compiler.compile(snapshot.from_manifests(documents), None, datetime(2026, 6, 1, tzinfo=UTC))
    assert not made.diagnostics
    known = keys.of_manifests(documents)
    rendered = resources(made.routes_of("support"), made.pools_of("support"), frozenset(known), Edge(port=0))
    return rendered, {key: value.reveal() for key, value in known.items()}


def ask(running: Envoy, model: str = "support-answer") -> httpx.Response:
    url = f"http://127.0.0.1:{running.port('turnout-ingress')}/v1/chat/completions"
    body = {"model": model, "messages": [{"role": "user", "content": "hi"}]}
    return httpx.post(url, json=body, headers={"x-tenant-id": "t"}, timeout=30)


def test_a_sidecar_serves_on_while_its_control_plane_is_gone_and_takes_what_is_new_when_it_is_back(
    plane: Plane, sim: Sim, tmp_path: Path
) -> None:
    folder = local_folder(tmp_path / "m", sim.url)
    first, known = made_of(folder)
    second, _ = made_of(folder, ("owner: team-support", "owner: team-other"))
    plane.publish(view(first, known.get, b"salt"))
    with envoy(plane, tmp_path) as running:
        plane.programmed(first.policy_version)
        plane.stop()
        assert ask(running, "nobody").status_code == 404
        plane.start()
        plane.publish(view(second, known.get, b"another life, another salt"))
        plane.listening()
        plane.programmed(second.policy_version)
        assert plane.progress(second.policy_version).complaints == ()


def test_a_key_that_never_comes_holds_up_neither_the_start_nor_the_other_pools(
    plane: Plane, sim: Sim, tmp_path: Path
) -> None:
    made, known = made_of(local_folder(tmp_path / "m", sim.url))
    only = {key: value for key, value in known.items() if key.name == "openai"}
    plane.publish(view(made, only.get, b"salt"))
    with envoy(plane, tmp_path) as running:
        plane.programmed(made.policy_version)
        waiting.until(lambda: running.port("turnout-ingress"), what="the listener", within=PATIENCE)
        clusters = json.loads(running.admin("/clusters?format=json"))["cluster_statuses"]
        assert {c["name"].split("/")[2] for c in clusters if c["name"].startswith("pool/")} == {
            "openai",
            "anthropic",
            "vllm",
        }


def test_a_policy_that_the_engine_refuses_is_not_in_force_and_the_last_good_one_is(
    plane: Plane, sim: Sim, tmp_path: Path
) -> None:
    made, known = made_of(local_folder(tmp_path / "m", sim.url))
    good = view(made, known.get, b"salt")
    plane.publish(good)
    with envoy(plane, tmp_path) as running:
        plane.programmed(made.policy_version)
        body = message.encode(
            message.EXTENSION, extension(b'{"schema": 99, "version": "bad", "routes": [], "pools": []}')
        )
        bad = Resources(
            clusters=made.clusters,
            listeners=made.listeners,
            extensions=(Resource(name="turnout-engine", body=body),),
            secrets=made.secrets,
            policy_version="bad",
            longest=made.longest,
        )
        plane.publish(view(bad, known.get, b"salt"))
        said = waiting.until(lambda: plane.progress("bad").complaints, what="the refusal", within=PATIENCE)
        assert any("TypedExtensionConfig" in words for words in said)
        assert plane.progress("bad").programmed == 0
        assert plane.progress(made.policy_version).programmed == 1
        assert ask(running, "nobody").status_code == 404
        plane.publish(good)
        waiting.until(lambda: not plane.progress("bad").complaints, what="peace", within=PATIENCE)


def test_a_sidecar_with_another_token_is_told_nothing(plane: Plane, sim: Sim, tmp_path: Path) -> None:
    made, known = made_of(local_folder(tmp_path / "m", sim.url))
    plane.publish(view(made, known.get, b"salt"))
    running = envoy(plane, tmp_path)
    (tmp_path / "token").write_text("stolen elsewhere")
    running.start()
    try:
        waiting.until(
            lambda: "not the sidecar's token" in running.log(), what="the refusal in Envoy's log", within=PATIENCE
        )
        assert plane.progress(made.policy_version).connected == 0
    finally:
        running.kill()
