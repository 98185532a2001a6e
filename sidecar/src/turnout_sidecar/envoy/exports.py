"""What the shim calls. Every entry is guarded: an exception that passed into C would be printed, and the client would hang.

cffi imports this file when Envoy first calls into the library, on the main thread. Policies and the boot run there too, requests on the
worker; both hold the interpreter lock by turns.
"""

from collections import deque
from collections.abc import Callable
from itertools import count
from typing import Any, TypeVar

from _turnout_engine import ffi, lib

from turnout_sidecar.core.host import Head
from turnout_sidecar.envoy.control import Control, assert_one_worker
from turnout_sidecar.envoy.host import EnvoyHost, now
from turnout_sidecar.envoy.log import Level, log
from turnout_sidecar.policy.codec import PolicyRefused

_control: Control | None = None
_requests: dict[int, EnvoyHost] = {}
_policies: dict[int, Any] = {}
_gone: deque[Any] = deque()
"""Policies that Envoy let go of, on whichever thread held them last; the main thread forgets them."""
F = TypeVar("F", bound=Callable[..., Any])
_tokens = count(1)
_unpack = ffi.unpack


def upcall(function: F) -> F:
    """The shim's function of that name. Should an exception pass all guards, the shim gets 0: refused."""
    ffi.def_extern()(function)
    return function


def _text(at: Any, size: int) -> str:
    return str(_unpack(at, size).decode("latin-1")) if size else ""


def _bytes(at: Any, size: int) -> bytes:
    return bytes(_unpack(at, size)) if size else b""


def _bug(entry: str, error: BaseException) -> None:
    if _control is not None:
        _control.faults.count(entry, error)
    else:
        log(Level.CRITICAL, f"{entry}: {error!r}")


def _head(head: Any, detail: str = "") -> Head:
    return Head(
        head.status,
        _text(head.type, head.type_size),
        _text(head.retry_after, head.retry_after_size),
        bool(head.genuine),
        detail,
    )


# -- process ----------------------------------------------------------------------------------------------------------


@upcall
def turnout_up_boot(config: Any, document: Any, size: int, workers: int) -> int:
    global _control, _requests
    try:
        assert_one_worker(workers)
        if _control is not None:
            raise ValueError("the bootstrap names the engine's extension twice")
        _control = Control(config, _bytes(document, size))
        _requests = _control.requests
        lib.turnout_initialized(config)
    except BaseException as error:  # noqa: BLE001
        log(Level.CRITICAL, f"the engine cannot start: {error}")
        return 0
    return 1


@upcall
def turnout_up_ready() -> None:
    _main("ready", lambda control: control.ready())


@upcall
def turnout_up_timer(timer: Any) -> None:
    _main("timer", lambda control: control.timer(timer))


@upcall
def turnout_up_event(event: int) -> None:
    _main("event", lambda control: control.event(event))


@upcall
def turnout_up_called(call: int, status: int, head: Any, head_size: int, body: Any, size: int) -> None:
    _main("called", lambda control: control.called(call, status, _bytes(head, head_size), _bytes(body, size)))


@upcall
def turnout_up_drain() -> None:
    _main("drain", lambda control: control.drain())


@upcall
def turnout_up_shutdown() -> None:
    if _control is None or not _main("shutdown", lambda control: control.shutdown()):
        # Nothing is left that could answer later, and Envoy waits for this without end.
        lib.turnout_shutdown_done()


def _main(entry: str, do: Any) -> bool:
    """Runs an event of the main thread; True when it went well."""
    if _control is None:
        return False
    try:
        do(_control)
        while _gone:
            _control.engine.forget(_gone.popleft())
    except BaseException as error:  # noqa: BLE001
        _bug(entry, error)
        return False
    return True


# -- policies ---------------------------------------------------------------------------------------------------------


@upcall
def turnout_up_policy(document: Any, size: int) -> int:
    """0 is a NACK: Envoy keeps the policy that it has."""
    if _control is None:
        log(Level.CRITICAL, "the engine's filter stands without its bootstrap extension; the bootstrap must name it")
        return 0
    try:
        runtime = _control.engine.configure(_bytes(document, size))
    except PolicyRefused as refusal:
        log(Level.ERROR, f"policy refused, the last good one goes on serving: {refusal}")
        return 0
    except BaseException as error:  # noqa: BLE001
        _bug("configure", error)
        return 0
    token = next(_tokens)
    _policies[token] = runtime
    return token


@upcall
def turnout_up_policy_gone(policy: int) -> None:
    _gone.append(_policies.pop(policy))


# -- requests ---------------------------------------------------------------------------------------------------------


@upcall
def turnout_up_request(
    filter_: Any,
    key: int,
    policy: int,
    method: Any,
    method_size: int,
    path: Any,
    path_size: int,
    body: Any,
    body_size: int,
) -> None:
    control = _control
    assert control is not None, "a filter config was accepted, so the boot was"
    host = EnvoyHost(filter_, key, _requests, control.wheel, control.rouse, control.faults)
    _requests[key] = host
    try:
        host.exchange = control.engine.open(_policies[policy], host)
    except BaseException as error:  # noqa: BLE001
        host.bug("open", error)
        return
    host.up(
        host.exchange.on_request, -1, _text(method, method_size), _text(path, path_size), _bytes(body, body_size), now()
    )


@upcall
def turnout_up_answer(key: int, stream: int, head: Any, body: Any, size: int) -> None:
    """A whole answer: head and body together, so that Envoy's words for a failure are known with its head."""
    host = _requests.get(key)
    if host is None:
        return
    exchange = host.exchange
    whole = _bytes(body, size)
    at = now()
    told = _head(head, "" if head.genuine else whole[:256].decode("latin-1"))
    host.up(exchange.on_attempt_head, stream, stream, told, not whole, at)
    if whole:
        host.up(exchange.on_attempt_data, stream, stream, whole, True, at)


@upcall
def turnout_up_head(key: int, stream: int, head: Any, end: int) -> None:
    host = _requests.get(key)
    if host is not None:
        host.up(host.exchange.on_attempt_head, stream, stream, _head(head), bool(end), now())


@upcall
def turnout_up_data(key: int, stream: int, data: Any, size: int, end: int) -> None:
    host = _requests.get(key)
    if host is not None:
        host.up(host.exchange.on_attempt_data, stream, stream, _unpack(data, size) if size else b"", bool(end), now())


@upcall
def turnout_up_end(key: int, stream: int) -> None:
    host = _requests.get(key)
    if host is not None:
        host.up(host.exchange.on_attempt_end, stream, stream, now())


@upcall
def turnout_up_reset(key: int, stream: int) -> None:
    host = _requests.get(key)
    if host is not None:
        host.up(host.exchange.on_attempt_reset, stream, stream, now())


@upcall
def turnout_up_woken(key: int) -> None:
    host = _requests.get(key)
    if host is not None:
        host.woken()


@upcall
def turnout_up_gone(key: int) -> None:
    host = _requests.get(key)
    if host is not None:
        host.gone()


@upcall
def turnout_up_pressure(key: int, above: int) -> None:
    host = _requests.get(key)
    if host is not None:
        host.pressure(bool(above))
