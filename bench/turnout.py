"""The whole product: `turnout serve` on manifests with budgets, keys and prices, its Envoy alone on the proxy's core.

Nothing is left out of the path: production's listener, access log (to a file), keys by SDS, leases from the ledger.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.bare import Proxy
from bench.cores import Cores, move, pinned
from bench.upstream import Upstream

PLAIN = "bench-plain"
STREAM = "bench-stream"
_POOL = """
apiVersion: turnout.dev/v1alpha1
kind: ProviderPool
metadata: {{name: {name}, namespace: bench}}
spec:
  owner: team-bench
  dialect: OpenAI
  endpoints: [{{name: main, url: "http://127.0.0.1:{port}/v1", allowInsecure: true}}]
  credentials: {{secretRef: {{name: key, key: apiKey}}}}
  models:
  - name: bench-model
    class: Small
    contextWindow: 400000
    maxOutputTokens: 128000
    capabilities: [Streaming]
    approvedFor: [Low, Standard]
    pricing: {{input: "0.25", output: "2.00", cachedInput: "0.025"}}
---
"""
_ROUTE = """
apiVersion: turnout.dev/v1alpha1
kind: LLMRoute
metadata: {{name: {name}, namespace: bench}}
spec:
  owner: team-bench
  identity: {{tenant: {{header: {{name: x-tenant-id}}, required: true}}}}
  candidates: [{{name: main, poolRef: {{name: {name}}}, model: bench-model}}]
  budget:
    tokens: {{maxInput: 8000, maxOutput: 1024}}
    limits:
    - {{name: request, scope: Request, cost: "0.02"}}
    - {{name: tenant-day, scope: Tenant, window: Day, cost: "1000000"}}
    - {{name: day, scope: Route, window: Day, cost: "1000000"}}
  latency:
    timeToFirstToken: {{p50: 400ms, p95: 900ms, p99: 2s, deadline: 3s}}
    total: {{p50: 1500ms, p95: 4s, p99: 8s, deadline: 15s}}
    stall: 5s
  attempts: {{max: 2, deadline: 7s}}
  cache: {{none: {{reason: "a benchmark"}}}}
  degradation:
    paths:
    - {{faults: [Unavailable, RateLimited, TooSlow], steps: [{{respond: {{status: 503}}}}]}}
    - {{faults: [OverBudget, InvalidOutput], steps: [{{respond: {{status: 429}}}}]}}
  drills: {{schedule: "0 10 * * 2", timeZone: Europe/Berlin}}
---
"""
_REST = """
apiVersion: v1
kind: Namespace
metadata: {name: bench}
---
apiVersion: v1
kind: Secret
metadata: {name: key, namespace: bench}
stringData: {apiKey: sk-bench-is-not-a-key}
"""


@contextmanager
def turnout(upstream: Upstream, cores: Cores) -> Iterator[Proxy]:
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as place:
        manifests = Path(place) / "manifests"
        manifests.mkdir()
        ports = {PLAIN: upstream.plain, STREAM: upstream.stream}
        text = "".join(_POOL.format(name=n, port=p) + _ROUTE.format(name=n) for n, p in ports.items())
        (manifests / "bench.yaml").write_text(text + _REST)
        read, write = os.pipe()
        command = [
            sys.executable, "-m", "turnout_operator", "serve", str(manifests), "--listen", "127.0.0.1:0",
            "--state", str(Path(place) / "state"), "--access-log", str(Path(place) / "access.log"),
            "--ready-fd", str(write), "-o", "json", "--log-level", "error",
        ]  # fmt: skip
        said = Path(place) / "serve.log"
        with said.open("wb") as log:
            process = subprocess.Popen(pinned(cores.rest, command), pass_fds=(write,), stdout=log, stderr=log)
        os.close(write)
        try:
            address = _ready(read, process, said)
            envoy = _envoy(process.pid)
            move(envoy, cores.proxy)
            port = int(address.rpartition(":")[2])
            yield Proxy(plain=port, stream=port, process=envoy)
        finally:
            process.terminate()
            process.wait(30)


def _ready(pipe: int, process: "subprocess.Popen[bytes]", said: Path) -> str:
    with os.fdopen(pipe) as ready:
        address = ready.read().strip()
    if not address:
        process.wait(30)
        raise RuntimeError(f"turnout serve did not come up:\n{said.read_text(errors='replace')}")
    return address


def _envoy(parent: int, within: float = 10) -> int:
    """The process that `serve` started and that runs Envoy."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                name, _, _ = status.read_text().partition(" (")[2].rpartition(") ")
            except OSError:
                continue
            if name.startswith("envoy") and _descends(int(status.parent.name), parent):
                return int(status.parent.name)
        time.sleep(0.05)
    raise RuntimeError("turnout serve has no Envoy")


def _descends(process: int, ancestor: int) -> bool:
    while process > 1:
        if process == ancestor:
            return True
        try:
            process = int(Path(f"/proc/{process}/stat").read_text().rpartition(") ")[2].split()[1])
        except OSError:
            return False
    return False
