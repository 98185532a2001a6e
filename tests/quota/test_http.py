"""The report endpoint as a sidecar meets it, over a real socket."""

import asyncio
from collections.abc import Awaitable, Callable

import httpx
import pytest

from turnout_operator.identity import Identity, ReviewUnavailable, TokenRefused
from turnout_operator.ir import QuotaLimit, Window
from turnout_operator.quota import limits
from turnout_operator.quota.http import MAX_BODY, ReportServer
from turnout_operator.quota.memory import MemoryStore
from turnout_operator.quota.service import LeaseService
from turnout_sidecar.core.budget import Book
from turnout_sidecar.policy.model import Scope
from turnout_sidecar.policy.report import WIRE, Report, decode_answer, encode_report
from turnout_sidecar.policy.units import Millis, NanoUSD

NOON = 1_795_262_400_000
LIMIT = QuotaLimit(
    account="shop/route:chat/day",
    name="day",
    scope=Scope.ROUTE,
    amount=NanoUSD(1_000),
    window=Window.DAY,
    time_zone="UTC",
)
TOKENS = {
    "good": Identity(namespace="shop", service_account="gateway"),
    "thief": Identity(namespace="shop", service_account="x"),
}


async def authenticate(token: str) -> Identity:
    if token == "later":
        raise ReviewUnavailable("the API server does not answer")
    if token not in TOKENS:
        raise TokenRefused("the token is not valid")
    return TOKENS[token]


def body(epoch: str = "e1", want: int = 10) -> bytes:
    book = Book(epoch=epoch)
    book.want("shop/route:chat/day/-", NanoUSD(want), Millis(0))
    return encode_report(Report(wire=WIRE, sequence=7, epoch=book.report(Millis(0))))


def served(use: Callable[[httpx.AsyncClient, list[int]], Awaitable[None]]) -> None:
    async def run() -> None:
        service = LeaseService(MemoryStore())
        service.set_limits(limits.everywhere([LIMIT]))
        observed: list[int] = []
        server = ReportServer(
            service, authenticate, wall=lambda: NOON, observe=lambda status, _: observed.append(status)
        )
        await server.start("127.0.0.1")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            await use(client, observed)
        await server.stop()

    asyncio.run(run())


def test_a_report_is_answered_with_a_lease() -> None:
    async def use(client: httpx.AsyncClient, observed: list[int]) -> None:
        response = await client.post("/v1/report", content=body(), headers={"authorization": "Bearer good"})
        answer = decode_answer(response.content)
        assert (response.status_code, answer.sequence, answer.grants[0].granted) == (200, 7, 10)
        assert observed == [200]

    served(use)


@pytest.mark.parametrize(
    ("headers", "content", "status", "code"),
    [
        ({}, b"{}", 401, "token_refused"),
        ({"authorization": "Basic Zm9v"}, b"{}", 401, "token_refused"),
        ({"authorization": "Bearer bad"}, b"{}", 401, "token_refused"),
        ({"authorization": "Bearer later"}, b"{}", 503, "review_unavailable"),
        ({"authorization": "Bearer good"}, b"{", 400, "report_malformed"),
        ({"authorization": "Bearer good"}, b'{"wire":1}', 400, "report_malformed"),
        ({"authorization": "Bearer good"}, body().replace(b'"wire":1', b'"wire":9'), 400, "wire_unknown"),
        ({"authorization": "Bearer good"}, body().replace(b'"wants":10', b'"wants":-1'), 400, "amount_negative"),
        ({"authorization": "Bearer good"}, body().replace(b'"granted":0', b'"granted":"0"'), 400, "report_malformed"),
        ({"authorization": "Bearer good"}, body(epoch="e" * 65), 400, "epoch_malformed"),
        ({"authorization": "Bearer good"}, b" " * (MAX_BODY + 1), 413, "report_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_refused_says_what_to_do(headers: dict[str, str], content: bytes, status: int, code: str) -> None:
    async def use(client: httpx.AsyncClient, observed: list[int]) -> None:
        response = await client.post("/v1/report", content=content, headers=headers)
        assert response.status_code == status
        assert response.json()["error"]["code"] == code
        assert response.json()["error"]["message"]
        assert observed == [status]

    served(use)


def test_an_epoch_belongs_to_whoever_used_it_first() -> None:
    async def use(client: httpx.AsyncClient, observed: list[int]) -> None:
        await client.post("/v1/report", content=body(), headers={"authorization": "Bearer good"})
        response = await client.post("/v1/report", content=body(), headers={"authorization": "Bearer thief"})
        assert (response.status_code, response.json()["error"]["code"]) == (403, "foreign_epoch")

    served(use)


def test_stopping_answers_what_is_under_way() -> None:
    async def run() -> None:
        entered, release = asyncio.Event(), asyncio.Event()

        async def slowly(token: str) -> Identity:
            entered.set()
            await release.wait()
            return await authenticate(token)

        server = await ReportServer(LeaseService(MemoryStore()), slowly, wall=lambda: NOON).start("127.0.0.1")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as client:
            call = asyncio.create_task(
                client.post("/v1/report", content=body(), headers={"authorization": "Bearer good"})
            )
            await entered.wait()
            stop = asyncio.create_task(server.stop())
            release.set()
            assert (await call).status_code == 200
            await stop

    asyncio.run(run())
