"""Load: wrk where it can be had, else a generator of our own. Closed loop over kept connections; what is not a 200 is an error.

``python -m bench.load URL BODY_FILE SECONDS CONNECTIONS`` is the generator of our own.
"""

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from bench.cores import pinned

CONNECTIONS = 32
TENANT = "bench"
_PATH = "/v1/chat/completions"
_LUA = """
wrk.method = "POST"
wrk.path = "{path}"
local file = io.open("{body}", "rb")
wrk.body = file:read("*all")
file:close()
wrk.headers["content-type"] = "application/json"
wrk.headers["x-tenant-id"] = "{tenant}"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    per_second: float
    errors: int


def name() -> str:
    return "wrk" if shutil.which("wrk") else "bench.load (asyncio)"


def run(port: int, body: bytes, seconds: float, core: int) -> Rate:
    """Requests per second that were answered."""
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as place:
        file = Path(place) / "body"
        file.write_bytes(body)
        url = f"http://127.0.0.1:{port}"
        if shutil.which("wrk"):
            return _wrk(url, file, seconds, core)
        arguments = [url, str(file), str(seconds), str(CONNECTIONS)]
        said = _output(pinned(core, [sys.executable, "-m", "bench.load", *arguments]))
        counted = json.loads(said)
        return Rate(per_second=counted["answered"] / counted["seconds"], errors=counted["errors"])


def _wrk(url: str, body: Path, seconds: float, core: int) -> Rate:
    script = body.with_suffix(".lua")
    script.write_text(_LUA.format(path=_PATH, body=body, tenant=TENANT))
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{round(seconds)}s", "-s", str(script), url]
    said = _output(pinned(core, command))
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    refused = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    broken = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", said)
    if rate is None:
        raise RuntimeError(f"wrk said no rate: {said}")
    errors = int(refused[1]) if refused else 0
    errors += sum(map(int, broken.groups())) if broken else 0
    return Rate(per_second=float(rate[1]), errors=errors)


def _output(command: list[str]) -> str:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {result.returncode}: {result.stderr}")
    return result.stdout


async def _generate(url: str, body: bytes, seconds: float, connections: int) -> None:
    address = urlsplit(url)
    head = f"POST {_PATH} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\nx-tenant-id: {TENANT}\r\ncontent-length: {len(body)}\r\n\r\n"
    began = time.monotonic()
    counts = await asyncio.gather(
        *(
            _loop(address.hostname or "", address.port or 0, head.encode() + body, began + seconds)
            for _ in range(connections)
        )
    )
    answered, errors = sum(c[0] for c in counts), sum(c[1] for c in counts)
    print(json.dumps({"answered": answered, "errors": errors, "seconds": time.monotonic() - began}))


async def _loop(host: str, port: int, request: bytes, until: float) -> tuple[int, int]:
    reader, writer = await asyncio.open_connection(host, port, limit=1 << 20)
    answered = errors = 0
    while time.monotonic() < until:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        lower = head.lower()
        if b"transfer-encoding: chunked" in lower:
            while size := int(await reader.readline(), 16):
                await reader.readexactly(size + 2)
            await reader.readexactly(2)
        else:
            await reader.readexactly(int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0]))
        if head.startswith(b"HTTP/1.1 200"):
            answered += 1
        else:
            errors += 1
    writer.close()
    return answered, errors


if __name__ == "__main__":
    asyncio.run(_generate(sys.argv[1], Path(sys.argv[2]).read_bytes(), float(sys.argv[3]), int(sys.argv[4])))
