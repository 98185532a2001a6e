"""Sends the workload through the official SDK, on time, and writes down what came of each request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import openai
from openai import AsyncOpenAI, AsyncStream
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from demo.result import Outcome, Result
from demo.trace import BYTES_PER_TOKEN
from demo.workload import MAX_TOKENS, Ask

_PATIENCE = 40.0


def client(base_url: str) -> AsyncOpenAI:
    """As an application makes it: the base URL is all that it changes, retries are the SDK's own."""
    transport = openai.DefaultAsyncHttpxClient(trust_env=False)  # the machine's HTTP_PROXY leads away from loopback
    return AsyncOpenAI(base_url=base_url, api_key="the-sidecar-has-the-keys", http_client=transport, timeout=_PATIENCE)


async def replay(asks: Sequence[Ask], clients: Sequence[AsyncOpenAI], tell: Callable[[Result], None]) -> None:
    """Each request at its time, whatever became of earlier ones; `tell` hears of each when it ends."""
    begin = time.monotonic()

    async def one(ask: Ask) -> None:
        await asyncio.sleep(max(0.0, begin + ask.at - time.monotonic()))
        tell(await send(ask, clients[ask.sidecar]))

    async with asyncio.TaskGroup() as group:
        for ask in asks:
            group.create_task(one(ask))


async def send(ask: Ask, through: AsyncOpenAI) -> Result:
    """One request to its end."""
    seen = _Seen(ask)
    try:
        if ask.stream:
            await _stream(ask, through, seen)
        else:
            await _plain(ask, through, seen)
    except openai.APIStatusError as error:
        return seen.refused(error)
    except (openai.APIError, ValueError) as error:  # ValueError: JSON that was cut
        return seen.broken(error)
    return seen.ended()


async def _plain(ask: Ask, through: AsyncOpenAI, seen: _Seen) -> None:
    raw = await through.chat.completions.with_raw_response.create(**_request(ask))
    seen.head(raw.headers)
    answer: ChatCompletion = raw.parse()
    for choice in answer.choices or ():  # the SDK checks nothing: what is no completion has None here
        seen.content(choice.message.content or "", choice.finish_reason)


async def _stream(ask: Ask, through: AsyncOpenAI, seen: _Seen) -> None:
    raw = await through.chat.completions.with_raw_response.create(**_request(ask), stream=True)
    seen.head(raw.headers)
    chunks: AsyncStream[ChatCompletionChunk] = raw.parse()
    async for chunk in chunks:
        for choice in chunk.choices:
            seen.content(choice.delta.content or "", choice.finish_reason)


def _request(ask: Ask) -> dict[str, Any]:
    return {
        "model": ask.route,
        "messages": [{"role": "user", "content": ask.prompt}],
        "max_tokens": MAX_TOKENS,
        "user": ask.tag,
        "extra_headers": {"x-tenant-id": ask.tenant, "x-workflow": "replay"},
    }


class _Seen:
    """One request while it is under way."""

    def __init__(self, ask: Ask) -> None:
        self._ask = ask
        self._begin = time.monotonic()
        self._headers: Mapping[str, str] = {}
        self._bytes = 0
        self._finish = ""
        self._first: float | None = None

    def head(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def content(self, text: str, finish: str | None) -> None:
        self._bytes += len(text)
        self._finish = finish or self._finish
        if text and self._first is None:
            self._first = self._elapsed()

    def ended(self) -> Result:
        """No exception: to the application this is a whole answer, so it had better be one."""
        return self._result(Outcome.ANSWERED if self._whole() else Outcome.SHORT, 200)

    def refused(self, error: openai.APIStatusError) -> Result:
        self._headers = error.response.headers
        body = error.body if isinstance(error.body, dict) else {}
        return self._result(
            Outcome.REFUSED, error.status_code, str(body.get("code") or ""), str(body.get("message", ""))
        )

    def broken(self, error: Exception) -> Result:
        begun = bool(self._headers)
        code = str(getattr(error, "code", None) or type(error).__name__)
        return self._result(Outcome.BROKEN if begun else Outcome.LOST, 200 if begun else 0, code, str(error))

    def _whole(self) -> bool:
        cap = min(MAX_TOKENS, self._clamped() or MAX_TOKENS)
        wanted = min(self._ask.output_tokens, cap)
        return bool(self._finish) and self._tokens() == wanted

    def _tokens(self) -> int:
        return -(-self._bytes // BYTES_PER_TOKEN)  # three letters and a space are one token of the stand-in's

    def _clamped(self) -> int | None:
        written = self._headers.get("x-turnout-max-tokens", "")
        return int(written) if written.isdigit() else None

    def _elapsed(self) -> float:
        return (time.monotonic() - self._begin) * 1000

    def _result(self, outcome: Outcome, status: int, code: str = "", words: str = "") -> Result:
        attempts = self._headers.get("x-turnout-attempts", "")
        return Result(
            ask=self._ask,
            outcome=outcome,
            status=status,
            code=code,
            candidate=self._headers.get("x-turnout-candidate", ""),
            degraded=self._headers.get("x-turnout-degraded", ""),
            step=self._headers.get("x-turnout-step", ""),
            attempts=int(attempts) if attempts.isdigit() else 0,
            finish=self._finish,
            tokens=self._tokens(),
            clamped=self._clamped(),
            first_token_ms=self._first if self._ask.stream else None,
            total_ms=self._elapsed(),
            words=words,
        )
