"""A sim inside this process, on a thread of its own: what tests use.

with Sim(script={"rules": [{"effects": [{"status": {"code": 503}}]}]}) as sim:
    OpenAI(base_url=sim.openai_url, api_key="any")
    sim.wait_for(lambda s: len(s.log()) == 1)
    assert sim.bill().cost_nano_usd == 0
"""

import asyncio
import concurrent.futures
import ssl
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from turnout_operator.sim import amounts, profile, script
from turnout_operator.sim.amounts import Seconds
from turnout_operator.sim.bill import Bill
from turnout_operator.sim.log import Entry
from turnout_operator.sim.profile import Profile
from turnout_operator.sim.provider import Settings
from turnout_operator.sim.script import Script
from turnout_operator.sim.server import Address, Server, State

T = TypeVar("T")
_START_SECONDS = 30


class Sim:
    """A running stand-in provider. Every method may be called from any thread but the sim's own.

    `profile` and `script` take a file, plain dicts and lists, or the decoded value. `keys`: the API keys that are
    good (none: every key). `journal`: the file that keeps the bill. `listen` and `admin_listen`: port 0 is a free one.
    """

    def __init__(
        self,
        profile: Profile | Path | dict[str, Any] | None = None,
        script: Script | Path | dict[str, Any] | None = None,
        *,
        keys: Sequence[str] = (),
        journal: Path | None = None,
        listen: Address = ("127.0.0.1", 0),
        admin_listen: Address = ("127.0.0.1", 0),
        tls: ssl.SSLContext | None = None,
        log_size: int = 10_000,
        log_bodies: bool = True,
        seed: int = 0,
    ) -> None:
        self._settings = Settings(
            profile=_profile(profile),
            keys=tuple(keys),
            journal=journal,
            log_size=log_size,
            log_bodies=log_bodies,
            seed=seed,
        )
        self._script = _script(script)
        self._addresses = (listen, admin_listen)
        self._tls = tls
        self._ready: concurrent.futures.Future[Server] = concurrent.futures.Future()
        self._thread = threading.Thread(target=self._run, name="turnout-sim", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listens when it returns; raises what starting raised (OSError for a port that is taken)."""
        self._thread.start()
        self._server = self._ready.result(_START_SECONDS)

    def stop(self) -> None:
        """Resets open connections, closes the ports and ends the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    @property
    def host(self) -> str:
        return self._server.listener.host

    @property
    def port(self) -> int:
        return self._server.listener.port

    @property
    def url(self) -> str:
        """Scheme and address; the base URL of Anthropic clients."""
        return f"http{'s' if self._tls else ''}://{self.host}:{self.port}"

    @property
    def openai_url(self) -> str:
        """The base URL of OpenAI clients."""
        return f"{self.url}/v1"

    @property
    def admin_url(self) -> str:
        return f"http://{self._server.admin.host}:{self._server.admin.port}"

    def bill(self) -> Bill:
        return self._call(self._server.bill)

    def log(self) -> tuple[Entry, ...]:
        """The requests that have ended, oldest first."""
        return self._call(self._server.log)

    def state(self) -> State:
        return self._call(self._server.state)

    def reset(self) -> None:
        """Empties bill and log."""
        self._call(self._server.provider.account.reset)
        self._call(self._server.provider.ring.clear)

    def set_script(self, script: Script | Path | dict[str, Any] | None) -> None:
        """Replaces the fault script; None: no faults."""
        decoded = _script(script)
        self._call(lambda: self._server.set_script(decoded))

    def down(self, seconds: float | None = None) -> None:
        """Connections are refused when it returns, until `up` or for a time."""
        self._call(lambda: self._server.down(None if seconds is None else Seconds(seconds)))

    def up(self) -> None:
        """Connections are accepted when it returns."""
        self._call(self._server.up)

    def wait_for(self, fact: Callable[[Server], bool], timeout: float = 30.0) -> None:
        """Returns when `fact` of the server (its `bill()`, `log()`, `state()`) holds; TimeoutError after `timeout`."""
        waiting = asyncio.wait_for(self._server.wait_for(fact), timeout)
        try:
            asyncio.run_coroutine_threadsafe(waiting, self._loop).result()
        except TimeoutError as error:
            seen = [f"{e.number} {e.model} {e.outcome} {e.status} {e.fault}".strip() for e in self.log()[-5:]]
            raise TimeoutError(f"not within {timeout} s; {self.state()}; last requests: {seen}") from error

    def _call(self, action: Callable[[], T]) -> T:
        async def act() -> T:
            return action()

        return asyncio.run_coroutine_threadsafe(act(), self._loop).result()

    def _run(self) -> None:
        self._loop = loop = asyncio.new_event_loop()
        try:
            server = loop.run_until_complete(self._started())
        except Exception as error:  # noqa: BLE001  (handed to the thread that started us)
            self._ready.set_exception(error)
            loop.close()
            return
        self._ready.set_result(server)
        try:
            loop.run_forever()
            server.stop()
            loop.run_until_complete(asyncio.sleep(0))  # lets the closed transports tell their protocols
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    async def _started(self) -> Server:
        listen, admin_listen = self._addresses
        server = Server(self._settings, self._script, listen, admin_listen, self._tls)
        server.start()
        return server


def _profile(given: Profile | Path | dict[str, Any] | None) -> Profile:
    if given is None:
        return profile.default()
    if isinstance(given, Path):
        return profile.load(given)
    return given if isinstance(given, Profile) else amounts.convert(given, Profile, "profile")


def _script(given: Script | Path | dict[str, Any] | None) -> Script:
    if given is None:
        return Script()
    if isinstance(given, Path):
        return script.load(given)
    return given if isinstance(given, Script) else amounts.convert(given, Script, "script")
