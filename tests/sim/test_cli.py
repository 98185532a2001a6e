"""`turnout sim` as a process."""

import signal
import subprocess
import sys
from pathlib import Path

import httpx
import msgspec
import pytest

COMMAND = [sys.executable, "-c", "import typer; from turnout_operator.cli.sim import sim; typer.run(sim)"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_listens_serves_and_ends_with_status_0(number: signal.Signals) -> None:
    with subprocess.Popen([*COMMAND, "--listen", "127.0.0.1:0", "--key", "k"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        started = msgspec.json.decode(process.stdout.readline())
        key = {"authorization": "Bearer k"}
        assert httpx.get(f"{started['openaiBaseUrl']}/models", headers=key).status_code == 200
        assert httpx.get(f"{started['openaiBaseUrl']}/models").status_code == 401
        assert httpx.get(f"http://{started['admin']}/sim/state").json()["requests"] == 2
        process.send_signal(number)
        assert process.wait(30) == 0


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--listen", "8100"], "--listen: not HOST:PORT: '8100'; write for example 127.0.0.1:8100"),
        (["--script", "bad.yaml"], "bad.yaml: Object missing required field `effects` - at `$.rules[0]`"),
        (["--tls-cert", "bad.yaml"], "--tls-cert and --tls-key belong together"),
        (["--profile", "none.yaml"], "none.yaml"),
    ],
)
def test_what_it_cannot_use_is_said_on_stderr_with_status_1(tmp_path: Path, options: list[str], words: str) -> None:
    (tmp_path / "bad.yaml").write_text("rules: [{}]")
    run = subprocess.run([*COMMAND, *options], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert words in run.stderr
    assert "Traceback" not in run.stderr
