"""The admin endpoint, on its own port so that it stays reachable while the provider is down.

GET    /sim/state            what is going on
GET    /sim/bill             the bill                  DELETE: start anew
GET    /sim/log              the last requests         DELETE: forget them
GET    /sim/script           the fault script          PUT: replace it (YAML or JSON)   DELETE: no faults
POST   /sim/down[?for=5s]    the provider dies         POST /sim/up: it is back
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING
from urllib.parse import parse_qs

import msgspec

from turnout_operator.sim import amounts, http1
from turnout_operator.sim.amounts import InputError, Seconds
from turnout_operator.sim.http1 import Request
from turnout_operator.sim.log import Outcome
from turnout_operator.sim.order import Part, Send, Step
from turnout_operator.sim.script import Script

if TYPE_CHECKING:
    from turnout_operator.sim.server import Server


class Reply:
    """An admin answer under way."""

    def __init__(self, request: Request, status: int, value: object) -> None:
        body = msgspec.json.encode(value, enc_hook=_scalar) + b"\n"
        headers = {"content-type": "application/json", "content-length": str(len(body))}
        self.request = request
        self.generated = 0
        self.steps: Iterator[Step] = iter((Send(Part.BODY, http1.head(status, headers) + body),))


class Admin:
    """Answers admin requests by acting on the server."""

    def __init__(self, server: "Server") -> None:
        self._server = server
        self._actions: Mapping[tuple[str, str], Callable[[Request], object]] = {
            ("GET", "/sim/state"): lambda _: server.state(),
            ("GET", "/sim/bill"): lambda _: server.bill(),
            ("DELETE", "/sim/bill"): lambda _: server.provider.account.reset(),
            ("GET", "/sim/log"): lambda _: server.log(),
            ("DELETE", "/sim/log"): lambda _: server.provider.ring.clear(),
            ("GET", "/sim/script"): lambda _: server.provider.rules.script,
            ("PUT", "/sim/script"): self._set_script,
            ("DELETE", "/sim/script"): lambda _: server.set_script(Script()),
            ("POST", "/sim/down"): self._down,
            ("POST", "/sim/up"): lambda _: server.up(),
        }

    def answer(self, request: Request, now: float) -> Reply:  # noqa: ARG002  (the handler protocol)
        action = self._actions.get((request.method, request.path))
        if action is None:
            known = [f"{method} {path}" for method, path in self._actions]
            return Reply(request, 404, {"error": f"no {request.method} {request.path}", "known": known})
        try:
            value = action(request)
        except (InputError, ValueError) as error:
            return Reply(request, 400, {"error": str(error)})
        except OSError as error:
            return Reply(request, 500, {"error": str(error)})
        return Reply(request, 200, {"ok": True} if value is None else value)

    def settle(self, exchange: Reply, outcome: Outcome, now: float) -> None:
        """Admin requests are neither billed nor logged."""

    def _set_script(self, request: Request) -> None:
        self._server.set_script(amounts.decode(request.body, Script, "script"))

    def _down(self, request: Request) -> None:
        wanted = parse_qs(request.query).get("for")
        self._server.down(Seconds.parse(wanted[0]) if wanted else None)


def _scalar(value: object) -> object:
    """A script's durations, as numbers of seconds, which is one way to write them."""
    if isinstance(value, Seconds):
        return float(value)
    raise NotImplementedError(f"no JSON for {type(value)}")
