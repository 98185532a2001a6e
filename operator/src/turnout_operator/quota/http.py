"""The report endpoint: `POST /v1/report`, JSON both ways, a bearer token. A shell around `LeaseService`, in its loop.

Refusals are JSON as well: ``{"error": {"code", "message"}}``; the message says what to send instead and never repeats the token.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import Self

import msgspec
import structlog
from aiohttp import web

from turnout_operator.identity import Authenticate, Identity, ReviewUnavailable, TokenRefused
from turnout_operator.quota.service import LeaseService, ReportRefused
from turnout_sidecar.policy import report as wire

log = structlog.get_logger(__name__)
PATH = "/v1/report"
MAX_BODY = 64 * 1024 * 1024
"""The end of a life whose record is full, 65,536 accounts with the longest names, and the report that brings it. A smaller bound would
refuse each report of a sidecar that has such a life behind it, and so its every lease."""
_SHUTDOWN_SECONDS = 5.0


class ReportServer:
    """Serves until `stop`. `wall` gives Unix milliseconds; `observe` hears the HTTP status and the seconds of every report."""

    def __init__(
        self,
        service: LeaseService,
        authenticate: Authenticate,
        *,
        wall: Callable[[], int],
        tls: ssl.SSLContext | None = None,
        observe: Callable[[int, float], None] = lambda _status, _seconds: None,
    ) -> None:
        self._service = service
        self._authenticate = authenticate
        self._wall = wall
        self._tls = tls
        self._observe = observe
        self._runner: web.AppRunner | None = None
        self.port = 0
        """What is listened on, from `start` on."""

    async def start(self, host: str, port: int = 0) -> Self:
        """Listens afterwards; port 0 takes a free one. Raises `OSError`."""
        application = web.Application(client_max_size=MAX_BODY)
        application.router.add_post(PATH, self._report)
        self._runner = web.AppRunner(
            application, access_log=None, handle_signals=False, shutdown_timeout=_SHUTDOWN_SECONDS, keepalive_timeout=75
        )
        await self._runner.setup()
        site = web.TCPSite(self._runner, host, port, ssl_context=self._tls)
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def stop(self) -> None:
        """Answers what is under way and takes nothing new."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def _report(self, request: web.Request) -> web.Response:
        loop_time = asyncio.get_running_loop().time
        began = loop_time()
        response = await self._answer(request)
        self._observe(response.status, loop_time() - began)
        return response

    async def _answer(self, request: web.Request) -> web.Response:
        try:
            identity = await self._identify(request)
            report = wire.decode_report(await request.read())
            answer = await self._service.report(identity, report, self._wall())
        except ReportRefused as e:
            return _refusal(e.status, e.code, str(e))
        except msgspec.MsgspecError as e:
            return _refusal(400, "report_malformed", f"the report is not one of wire {wire.WIRE}: {e}")
        except web.HTTPRequestEntityTooLarge:
            return _refusal(413, "report_too_large", f"a report has at most {MAX_BODY} bytes")
        except TokenRefused as e:
            return _refusal(401, "token_refused", str(e))
        except ReviewUnavailable as e:
            return _refusal(503, "review_unavailable", str(e))
        except Exception:
            log.exception("report failed")
            return _refusal(500, "internal", "the lease service failed; the sidecar goes on with what it holds")
        return web.Response(body=wire.encode_answer(answer), content_type="application/json")

    async def _identify(self, request: web.Request) -> Identity:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise TokenRefused("no bearer token; send `authorization: Bearer <projected ServiceAccount token>`")
        return await self._authenticate(token.strip())


def _refusal(status: int, code: str, message: str) -> web.Response:
    body = msgspec.json.encode({"error": {"code": code, "message": message}})
    return web.Response(status=status, body=body, content_type="application/json")
