"""The provider itself: a request in, an exchange out; an exchange's end in, a charge and a log entry out.

It knows no socket. It reads no clock: `now` is monotonic seconds from the connection, `created` follows from it.
"""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from turnout_operator.sim import ask as asking
from turnout_operator.sim import chat, draft, faults, keys, log, messages, orders
from turnout_operator.sim.ask import Ask, RefusedError
from turnout_operator.sim.bill import Account, Charge
from turnout_operator.sim.draft import Draft
from turnout_operator.sim.http1 import Request
from turnout_operator.sim.limits import Limiter
from turnout_operator.sim.log import Entry, Outcome, Ring
from turnout_operator.sim.order import Order, Step
from turnout_operator.sim.pricing import Tariff, Usage
from turnout_operator.sim.profile import Abort, Dialect, Model, Profile
from turnout_operator.sim.rules import Rules
from turnout_operator.sim.script import Bills, Effect, Script

_CHAT = "/v1/chat/completions"
_MESSAGES = "/v1/messages"
_COUNT = "/v1/messages/count_tokens"
_MODELS = "/v1/models"
_ROUTES = {_CHAT: "POST", _MESSAGES: "POST", _COUNT: "POST", _MODELS: "GET"}


class Settings(msgspec.Struct, frozen=True):
    """`keys`: the API keys that are good; none means every key is. `epoch`: Unix seconds when `now` was 0."""

    profile: Profile
    keys: tuple[str, ...] = ()
    journal: Path | None = None
    log_size: int = 1000
    log_bodies: bool = False
    seed: int = 0
    epoch: float = 0.0


class Tab(msgspec.Struct, frozen=True):
    """What an exchange may be charged: the order, the model and how the rule bills."""

    order: Order
    model: Model
    bills: Bills


class Exchange:
    """One request and its answer under way. The connection plays `steps`, counts `generated` and settles once."""

    def __init__(self, request: Request, number: int, now: float) -> None:
        self.request = request
        self.number = number
        self.started = now
        self.generated = 0
        self.steps: Iterator[Step] = iter(())
        self.status = 200
        self.refused = False
        self.settled = False
        self.dialect: Dialect | None = None
        self.ask: Ask | None = None
        self.tab: Tab | None = None
        self.key = keys.NOBODY
        self.fault = ""


class Provider:
    """All state of the stand-in provider. `on_change` is called when a request has begun, and when it has ended and is counted."""

    def __init__(self, settings: Settings, script: Script, now: float, on_change: Callable[[], None]) -> None:
        self.settings = settings
        self.account = Account(settings.journal)
        self.ring = Ring(settings.log_size)
        self.rules = Rules(script, now)
        self.requests = 0
        self.in_flight = 0
        self.started = now
        self._tariffs = {model.name: Tariff(model.prices) for model in settings.profile.models}
        self._limiter = Limiter()
        self._rng = random.Random(settings.seed)
        self._on_change = on_change

    def set_script(self, script: Script, now: float) -> None:
        """Replaces the script; its times and counts begin now. Exchanges under way keep their fault."""
        self.rules = Rules(script, now)

    def answer(self, request: Request, now: float) -> Exchange:
        """Decides the whole answer; nothing is charged yet."""
        self.requests += 1
        self.in_flight += 1
        exchange = Exchange(request, self.requests, now)
        effects: tuple[Effect, ...] = ()
        extra: dict[str, str] = {}
        try:
            drafted, effects = self._drafted(exchange, extra, now)
        except RefusedError as refusal:
            exchange.refused = True
            drafted = _refusal(exchange.dialect or Dialect.OPENAI, refusal)
        exchange.status = drafted.status
        request_id = "request-id" if exchange.dialect is Dialect.ANTHROPIC else "x-request-id"
        headers = {request_id: f"req_sim{exchange.number:08d}", **extra, **drafted.headers}
        drafted = msgspec.structs.replace(drafted, headers=headers)
        steps = draft.framed(drafted, close=not request.keep_alive)
        pace = next((effect.slow.bytes_per_second for effect in effects if effect.slow is not None), None)
        if self.settings.profile.events_per_write > 1:
            steps = draft.joined(steps, self.settings.profile.events_per_write)
        exchange.steps = steps if pace is None else draft.slowed(steps, pace)
        self._on_change()
        return exchange

    def settle(self, exchange: Exchange, outcome: Outcome, now: float) -> None:
        """Charges what the exchange costs and writes its log entry; the second call for an exchange does nothing."""
        if exchange.settled:
            return
        exchange.settled = True
        self.in_flight -= 1
        if exchange.refused and outcome is Outcome.SERVED:
            outcome = Outcome.REFUSED
        usage = _charged(exchange, outcome)
        cost = 0
        if usage is not None and exchange.tab is not None:
            cost = self._tariffs[exchange.tab.model.name].cost_nano_usd(usage)
            tag = exchange.tab.order.ask.tag
            self.account.charge(
                Charge(exchange.key, exchange.tab.model.name, tag, usage, cost, outcome is Outcome.ABORTED)
            )
        self.ring.add(self._entry(exchange, outcome, usage or Usage(), cost, now))
        self._on_change()

    def _drafted(self, exchange: Exchange, extra: dict[str, str], now: float) -> tuple[Draft, tuple[Effect, ...]]:
        request = exchange.request
        path = request.path
        anthropic = path in (_MESSAGES, _COUNT) or (path == _MODELS and b"anthropic-version" in request.headers)
        exchange.dialect = dialect = Dialect.ANTHROPIC if anthropic else Dialect.OPENAI
        method = _ROUTES.get(path)
        if method is None:
            raise RefusedError(404, f"Unknown request URL: {request.method} {path}", code="unknown_url")
        if method != request.method:
            raise RefusedError(405, f"Not allowed to {request.method} on {path}; it takes {method}")
        key = keys.presented(request, dialect)
        exchange.key = keys.name(key)
        if not keys.accepted(key, self.settings.keys):
            raise RefusedError(401, "invalid x-api-key" if anthropic else "Incorrect API key provided.")
        if path == _MODELS:
            return _listed(dialect, self.settings.profile, int(self.settings.epoch)), ()
        exchange.ask = ask = _read(request, path)
        model = self.settings.profile.model(ask.model, dialect)
        if model is None:
            raise RefusedError(
                404, f"The model `{ask.model}` does not exist or you do not have access to it.", param="model"
            )
        tokens = asking.input_tokens(ask, self.settings.profile.bytes_per_token)
        if path == _COUNT:
            return _counted(dialect, tokens), ()
        asking.check(ask, model, tokens)
        return self._generated(exchange, ask, model, extra, now)

    def _generated(
        self, exchange: Exchange, ask: Ask, model: Model, extra: dict[str, str], now: float
    ) -> tuple[Draft, tuple[Effect, ...]]:
        self._limit(exchange, ask, model, extra, now)
        rule = self.rules.meets(ask, exchange.request, now)
        effects = () if rule is None else rule.effects
        order = orders.write(
            ask,
            model,
            self.settings.profile,
            effects,
            self._rng,
            number=exchange.number,
            created=int(self.settings.epoch + now),
        )
        bills = Bills.GENERATED
        if rule is not None:
            exchange.fault = rule.name
            bills = faults.bills(effects) if rule.bills is None else rule.bills
        exchange.tab = Tab(order, model, bills)
        return faults.apply(draft.answer(order, model.latency, self._rng), effects), effects

    def _limit(self, exchange: Exchange, ask: Ask, model: Model, extra: dict[str, str], now: float) -> None:
        limits = model.rate_limits
        if not (limits.requests_per_minute or limits.tokens_per_minute):
            return
        tokens = asking.input_tokens(ask, self.settings.profile.bytes_per_token) + (ask.cap or 0) * ask.choices
        verdict = self._limiter.admit(exchange.key, model.name, limits, tokens, ask.dialect, now)
        extra |= verdict.headers
        if verdict.retry_after is not None:
            raise RefusedError(429, f"Rate limit reached for {model.name}; try again in {verdict.retry_after:.3f}s.")

    def _entry(self, exchange: Exchange, outcome: Outcome, usage: Usage, cost: int, now: float) -> Entry:
        ask, request = exchange.ask, exchange.request
        return Entry(
            number=exchange.number,
            at=exchange.started - self.started,
            took=now - exchange.started,
            method=request.method,
            path=request.path,
            dialect="" if exchange.dialect is None else exchange.dialect.value,
            model="" if ask is None else ask.model,
            stream=ask is not None and ask.stream,
            outcome=outcome,
            status=exchange.status,
            fault=exchange.fault,
            key=exchange.key,
            tag="" if ask is None else ask.tag,
            input_tokens=usage.input,
            output_tokens=usage.output,
            cost_nano_usd=cost,
            headers=log.redacted(request.headers),
            body=log.shown(request.body) if self.settings.log_bodies else None,
        )


def _read(request: Request, path: str) -> Ask:
    if path == _CHAT:
        return chat.read(request)
    return messages.read(request, counting=path == _COUNT)


def _listed(dialect: Dialect, profile: Profile, created: int) -> Draft:
    body = chat.models(profile, created) if dialect is Dialect.OPENAI else messages.models(profile)
    return draft.whole(dialect, 200, body, {})


def _counted(dialect: Dialect, tokens: int) -> Draft:
    return draft.whole(dialect, 200, msgspec.json.encode({"input_tokens": tokens}), {})


def _refusal(dialect: Dialect, refusal: RefusedError) -> Draft:
    if dialect is Dialect.ANTHROPIC:
        body = messages.error(refusal.status, refusal.message)
    else:
        body = chat.error(refusal.status, refusal.message, code=refusal.code, param=refusal.param)
    return draft.whole(dialect, refusal.status, body, {})


def _charged(exchange: Exchange, outcome: Outcome) -> Usage | None:
    """The usage on the bill; None when nothing is charged."""
    tab = exchange.tab
    if tab is None or tab.bills is Bills.NOTHING:
        return None
    whole = tab.order.billed
    if tab.bills is Bills.INPUT:
        return msgspec.structs.replace(whole, output=0)
    runs_on = outcome is Outcome.ABORTED and tab.model.abort is Abort.CONTINUES
    if tab.bills is Bills.EVERYTHING or runs_on or exchange.generated >= tab.order.tokens:
        return whole
    return msgspec.structs.replace(whole, output=exchange.generated)
