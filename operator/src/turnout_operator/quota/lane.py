"""One shard at work: its last known state, what waits for it, and the write that they share.

Rules
- Nobody hears of a grant before the shard that holds it is stored by compare-and-swap. After a conflict or a doubt the shard is loaded
  again and the step computed anew; nothing is patched.
- Asks that come while a write is under way share the next one. A first write lingers a moment for company, later ones keep a distance.
- One task a lane changes anything, so there is no lock.
"""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import msgspec
import structlog

from turnout_operator.quota import shard as shards
from turnout_operator.quota.ports import Conflict, LedgerStore, StoreUnavailable
from turnout_operator.quota.shard import Ask, Shard, Step
from turnout_sidecar.policy.report import Grant

log = structlog.get_logger(__name__)
_MOST_CONFLICTS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How often a lane writes and looks. Seconds, except where milliseconds are said."""

    linger: float = 0.01
    """A first write waits so long for others."""
    spacing: float = 0.1
    """Least time from one write of a lane to the next."""
    backoff: float = 0.02
    """After a conflict, at most, times the number of conflicts in a row."""
    patience: float = 2.0
    """A report does not wait longer for its shard; what is stored later, the next report hears."""
    fresh_ms: int = 2_000
    """An older view is loaded again before it is used: another replica may have written."""
    flush_ms: int = 5_000
    """What was only spent and returned is written after so long, should nothing else be."""
    bytes: int = 32_000
    """A larger shard splits; with its object's metadata that is within 32 KiB."""


class Moved(Exception):  # noqa: N818 - an answer, no failure
    """The shard has split; ask its children."""


class Counts(msgspec.Struct):
    """What the operator's metrics show, over all lanes."""

    writes: int = 0
    conflicts: int = 0
    unavailable: int = 0
    splits: int = 0
    surprises: int = 0


class Outcomes(NamedTuple):
    """`grants` in the order of the asks; `foreign` epochs were spoken for by somebody else than their owner."""

    grants: tuple[Grant | None, ...]
    foreign: frozenset[str]


class _Waiting(NamedTuple):
    asks: tuple[Ask, ...]
    now: int
    answer: asyncio.Future[Outcomes]


@dataclass(slots=True)
class Lane:
    """`surprised` hears of accounts of which a sidecar holds more than was stored; `granting` is asked before each step."""

    prefix: str
    store: LedgerStore
    pace: Pace
    counts: Counts
    granting: Callable[[int], bool]
    surprised: Callable[[tuple[str, ...], int], None]
    rng: random.Random
    view: Shard | None = None
    recalled: dict[str, set[str]] = field(default_factory=dict)
    """Keys of the accounts that each epoch is asked to return something of."""
    fault: str = ""
    """Why the store could not be had, in its words; empty while it can."""
    _version: str | None = None
    _loaded: int = 0
    _flushed: int = 0
    _dirty: bool = False
    _wrote: float = float("-inf")
    _pending: list[_Waiting] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None

    async def submit(self, asks: tuple[Ask, ...], now: int) -> Outcomes:
        """What became of the asks, once it is stored. Raises `Moved`, `StoreUnavailable`."""
        answer: asyncio.Future[Outcomes] = asyncio.get_running_loop().create_future()
        self._pending.append(_Waiting(asks, now, answer))
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._drain(), name=f"ledger-{self.prefix}")
        try:
            return await asyncio.wait_for(answer, self.pace.patience)
        except TimeoutError:
            raise StoreUnavailable(f"shard {self.prefix} was not stored within {self.pace.patience} s") from None

    async def look(self, now: int) -> Shard:
        """The shard as it is stored now, with what is known beyond it. Raises `StoreUnavailable`."""
        if self.view is None or not self._is_fresh(now):
            await self.submit((), now)
        assert self.view is not None, "a submit that came through has loaded it"
        return self.view

    def doubt(self) -> None:
        """The next step loads the shard before it looks at it."""
        self._loaded = -(2**62)

    def _is_fresh(self, now: int) -> bool:
        """What was loaded in the future, before the clock went back, is not."""
        return 0 <= now - self._loaded < self.pace.fresh_ms

    async def _drain(self) -> None:
        conflicts = 0
        while self._pending:
            try:
                await self._turn(max(waiting.now for waiting in self._pending))
                conflicts = 0
                self.fault = ""
            except Conflict:
                self.counts.conflicts += 1
                conflicts += 1
                self.doubt()
                if conflicts > _MOST_CONFLICTS:
                    self._refuse(StoreUnavailable(f"shard {self.prefix} changed under {conflicts} writes in a row"))
                await _pause(self.rng.uniform(0, self.pace.backoff * conflicts))
            except (StoreUnavailable, shards.ShardUnreadable) as e:
                self.counts.unavailable += 1
                self.doubt()
                self._say(str(e))
                self._refuse(StoreUnavailable(str(e)))
            except Exception as e:  # whoever waits must hear of it, and the next report begins anew
                self.doubt()
                self._refuse(e)
                raise

    async def _turn(self, now: int) -> None:
        looked = await self._refresh(now)
        view = self.view
        assert view is not None, "a refresh leaves a view"
        if view.split:
            await self._finish_split(view)
            self._refuse(Moved())
            return
        if self._step(view, now).hard:
            await self._keep_distance()
        batch = list(self._pending)  # with those that came in the meantime
        now = max(waiting.now for waiting in batch)
        step = self._step(view, now)
        if step.surprises and not looked:
            self.doubt()  # another replica's grants look like money from nowhere until they are loaded
            return
        if step.surprises:
            self.counts.surprises += len(step.surprises)
            self.surprised(step.surprises, now)
        if step.hard:
            content = shards.encode(step.shard)
            if len(content) > self.pace.bytes and len(step.shard.accounts) > 1:
                await self._split(view)
                return
            await self._write(content, now)
            self._index(step.shard)
        else:
            self._dirty |= step.shard is not view  # a step without effect returns its argument
        self.view = step.shard
        del self._pending[: len(batch)]
        self._answer(batch, step)
        if self._dirty and not 0 <= now - self._flushed < self.pace.flush_ms:
            await self._flush(step.shard, now)

    def _step(self, view: Shard, now: int) -> Step:
        asks = [ask for waiting in self._pending for ask in waiting.asks]
        return shards.step(view, asks, now, granting=self.granting(now))

    def _answer(self, batch: list[_Waiting], step: Step) -> None:
        begin = 0
        for waiting in batch:
            end = begin + len(waiting.asks)
            if not waiting.answer.done():
                foreign = step.foreign & {ask.epoch for ask in waiting.asks}
                waiting.answer.set_result(Outcomes(step.outcomes[begin:end], foreign))
            begin = end

    async def _refresh(self, now: int) -> bool:
        """True when the shard was loaded just now."""
        if self.view is not None and self._is_fresh(now):
            return False
        stored = await self.store.load(self.prefix)
        version = stored.version if stored is not None else None
        if self.view is None or version != self._version:
            self.view = shards.decode(stored.content) if stored is not None else Shard()
            self._version = version
            self._dirty = False
            self._index(self.view)
        self._loaded = now
        return True

    async def _keep_distance(self) -> None:
        since = asyncio.get_running_loop().time() - self._wrote
        await _pause(max(self.pace.linger, self.pace.spacing - since))

    async def _write(self, content: bytes, now: int) -> None:
        self._version = await self.store.swap(self.prefix, content, self._version)
        self.counts.writes += 1
        self._wrote = asyncio.get_running_loop().time()
        self._flushed = now
        self._dirty = False

    async def _flush(self, shard: Shard, now: int) -> None:
        """Nobody waits for it and nothing hangs on it; what gets lost the sidecars say again."""
        self._flushed = now
        try:
            await self._write(shards.encode(shard), now)
        except (Conflict, StoreUnavailable):
            self.doubt()

    async def _split(self, view: Shard) -> None:
        """Freezes the shard; the next turn moves its accounts, and so would any other replica's."""
        self.counts.splits += 1
        frozen = msgspec.structs.replace(view, split=True)
        self._version = await self.store.swap(self.prefix, shards.encode(frozen), self._version)
        self.view = frozen

    async def _finish_split(self, view: Shard) -> None:
        if not view.accounts:
            return
        for prefix, child in shards.children(view, self.prefix).items():
            try:
                await self.store.swap(prefix, shards.encode(child), None)
            except Conflict:
                continue  # another replica was faster; a child may already have moved on
        emptied = Shard(split=True, swept=view.swept)
        self._version = await self.store.swap(self.prefix, shards.encode(emptied), self._version)
        self.view = emptied
        self.recalled = {}

    def _index(self, shard: Shard) -> None:
        recalled: dict[str, set[str]] = {}
        for name, account in shard.accounts.items():
            for epoch, lease in account.open.items():
                if lease.recall > lease.returned:
                    recalled.setdefault(epoch, set()).add(name)
        self.recalled = recalled

    def _say(self, fault: str) -> None:
        """Once for each new fault, not for each report that meets it."""
        if fault != self.fault:
            log.warning("ledger shard not available: nothing is granted from it", shard=self.prefix, error=fault)
        self.fault = fault

    def _refuse(self, error: Exception) -> None:
        batch, self._pending = self._pending, []
        for waiting in batch:
            if not waiting.answer.done():
                waiting.answer.set_exception(error)


async def _pause(seconds: float) -> None:
    if seconds > 0:
        await asyncio.sleep(seconds)
