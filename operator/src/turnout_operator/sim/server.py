"""The sim as a whole: the provider behind its listener, the admin endpoint behind another, outages in between."""

import asyncio
import ssl
import time
from collections.abc import Callable

import msgspec

from turnout_operator.sim import admin
from turnout_operator.sim.amounts import Seconds
from turnout_operator.sim.bill import Bill
from turnout_operator.sim.listener import Listener
from turnout_operator.sim.log import Entry
from turnout_operator.sim.provider import Exchange, Provider, Settings
from turnout_operator.sim.script import Script

Address = tuple[str, int]


class State(msgspec.Struct, frozen=True, rename="camel"):
    """What the sim is doing now. `uptime` in seconds; `requests` counts all that arrived since the start."""

    up: bool
    uptime: float
    requests: int
    in_flight: int
    connections: int


class Server:
    """Everything of one sim, on the running loop; every method must be called there."""

    def __init__(
        self,
        settings: Settings,
        script: Script,
        listen: Address,
        admin_listen: Address,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        started = self._loop.time()
        settings = msgspec.structs.replace(settings, epoch=time.time() - started)  # noqa: TID251  (this is the shell)
        self.provider = Provider(settings, script, started, self._wake_waiters)
        self._waiters: list[asyncio.Future[None]] = []
        self._outages: list[asyncio.TimerHandle] = []
        self._revival: asyncio.TimerHandle | None = None
        self.listener: Listener[Exchange] = Listener(self.provider, *listen, tls)
        try:
            self.admin: Listener[admin.Reply] = Listener(admin.Admin(self), *admin_listen)
        except OSError:
            self.listener.close()
            raise

    def start(self) -> None:
        """Listens on both addresses and begins the script's time."""
        self.admin.up()
        self.listener.up()
        self.set_script(self.provider.rules.script)

    def stop(self) -> None:
        """Resets what is open, closes both listeners and the journal."""
        self._cancel_outages()
        self._cancel_revival()
        self.listener.close()
        self.admin.close()
        self.provider.account.close()

    def set_script(self, script: Script) -> None:
        """Replaces the script: its counts, times and outages begin now. An outage under way ends when it was to end."""
        self._cancel_outages()
        self.provider.set_script(script, self._loop.time())
        self._outages = [self._loop.call_later(o.after, self.down, o.duration) for o in script.outages]

    def down(self, duration: Seconds | None = None) -> None:
        """The provider dies: connections are reset and new ones refused, until `up` or for a time."""
        self._cancel_revival()
        self.listener.down()
        if duration is not None:
            self._revival = self._loop.call_later(duration, self.up)
        self._wake_waiters()

    def up(self) -> None:
        """The provider accepts connections again, on the same port."""
        self._cancel_revival()
        self.listener.up()
        self._wake_waiters()

    def state(self) -> State:
        return State(
            up=self.listener.is_up,
            uptime=self._loop.time() - self.provider.started,
            requests=self.provider.requests,
            in_flight=self.provider.in_flight,
            connections=self.listener.connections,
        )

    def bill(self) -> Bill:
        return self.provider.account.bill()

    def log(self) -> tuple[Entry, ...]:
        return self.provider.ring.entries()

    async def wait_for(self, fact: "Callable[[Server], bool]") -> None:
        """Returns when `fact` holds; it is asked at each beginning and end of a request, and at each up and down."""
        while not fact(self):
            waiter = self._loop.create_future()
            self._waiters.append(waiter)
            await waiter

    def _wake_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _cancel_outages(self) -> None:
        for timer in self._outages:
            timer.cancel()
        self._outages = []

    def _cancel_revival(self) -> None:
        if self._revival is not None:
            self._revival.cancel()
            self._revival = None
