"""The provider: nginx where it can be had, else a small server of our own. Both answer from memory, with content and usage.

``python -m bench.upstream PLAIN_PORT STREAM_PORT`` is the server of our own.
"""

import asyncio
import contextlib
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import payloads
from bench.cores import pinned
from bench.ports import free, wait_for

_NGINX = """
worker_processes 1; master_process off; daemon off; pid {place}/nginx.pid; error_log {place}/error.log;
events {{ worker_connections 4096; }}
http {{
 access_log off; keepalive_requests 1000000000; keepalive_timeout 600s; sendfile off; tcp_nodelay on;
 client_body_buffer_size 64k; client_body_temp_path {place}/body; open_file_cache max=10;
 proxy_temp_path {place}/a; fastcgi_temp_path {place}/b; uwsgi_temp_path {place}/c; scgi_temp_path {place}/d;
 server {{ listen 127.0.0.1:{plain} backlog=1024; default_type application/json; location / {{ return 200 '{answer}'; }} }}
 server {{ listen 127.0.0.1:{stream} backlog=1024; default_type text/event-stream; location / {{ {events} }} }}
}}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upstream:
    name: str
    plain: int
    """port of whole answers"""
    stream: int
    """port of streams"""


@contextmanager
def upstream(core: int) -> Iterator[Upstream]:
    """Runs it on that core."""
    plain, stream = free(2)
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as place:
        nginx = shutil.which("nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
        if nginx:
            command, name = _nginx(nginx, Path(place), plain, stream), "nginx"
        else:
            command, name = (
                [sys.executable, "-m", "bench.upstream", str(plain), str(stream)],
                "bench.upstream (asyncio)",
            )
        process = subprocess.Popen(pinned(core, command), stderr=subprocess.DEVNULL)
        try:
            wait_for(plain)
            wait_for(stream)
            yield Upstream(name=name, plain=plain, stream=stream)
        finally:
            process.terminate()
            process.wait(10)


def _nginx(binary: str, place: Path, plain: int, stream: int) -> list[str]:
    place.chmod(0o755)
    text = _NGINX.format(
        place=place,
        plain=plain,
        stream=stream,
        answer=payloads.plain().decode(),
        events=_said(payloads.stream().decode()),
    )
    config = place / "nginx.conf"
    config.write_text(text)
    return [binary, "-c", str(config), "-e", str(place / "error.log")]


def _said(text: str) -> str:
    """A `return` of a long text: nginx reads no word longer than 4096 bytes, so it is put together from variables."""
    pieces = [text[at : at + 3_000] for at in range(0, len(text), 3_000)]
    sets = [f"set $piece{index} '{piece}';" for index, piece in enumerate(pieces)]
    return " ".join([*sets, "return 200 '" + "".join(f"${{piece{index}}}" for index in range(len(pieces))) + "';"])


async def _serve(plain: int, stream: int) -> None:
    for port, kind, body in (
        (plain, b"application/json", payloads.plain()),
        (stream, b"text/event-stream", payloads.stream()),
    ):
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %s\r\ncontent-length: %d\r\n\r\n" % (kind, len(body))
        await asyncio.start_server(_Answers(head + body), "127.0.0.1", port, backlog=1024)
    await asyncio.Event().wait()


class _Answers:
    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                await reader.readexactly(int(head.partition(b"content-length:")[2].partition(b"\r\n")[0] or b"0"))
                writer.write(self._answer)
                await writer.drain()
        writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), int(sys.argv[2])))
