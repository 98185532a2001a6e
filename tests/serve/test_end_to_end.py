"""`turnout serve` with a real Envoy, the stand-in provider and the official client."""

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from turnout_operator.sim import Sim
from turnout_testing import waiting
from turnout_testing.served import PATIENCE, Served, edit, local_folder

pytestmark = pytest.mark.envoy
SECRET = "sk-SEKRET-never-to-be-seen"
SLOW = {
    "models": [
        {
            "name": name,
            "dialects": dialects,
            "prices": prices,
            "outputTokens": {"fixed": 40},
            "latency": {"interToken": {"fixed": "50ms"}},
        }
        for name, dialects, prices in (
            ("gpt-5-mini", ["OpenAI"], {"input": "0.25", "output": "2.00"}),
            ("claude-sonnet-5", ["Anthropic"], {"input": "3.00", "output": "15.00"}),
            ("qwen3-8b", ["OpenAI"], {"input": "0", "output": "0"}),
        )
    ]
}
"""Two seconds a stream: long enough for something to happen in its middle."""
ASK: Any = {"model": "support-answer", "messages": [{"role": "user", "content": "Where is my parcel?"}]}


def client(served: Served) -> openai.OpenAI:
    return openai.OpenAI(base_url=served.url, api_key="the client's own", max_retries=0, timeout=60)


@pytest.fixture(scope="module")
def sim() -> Iterator[Sim]:
    with Sim() as running:
        yield running


@pytest.fixture
def slow() -> Iterator[Sim]:
    with Sim(SLOW) as running:
        yield running


@pytest.fixture(scope="module")
def served(sim: Sim, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """For tests that change nothing."""
    directory = tmp_path_factory.mktemp("served")
    with Served(local_folder(directory / "m", sim.url, SECRET), directory / "s") as running:
        yield running


def test_the_official_client_gets_a_plain_answer_and_its_signals(served: Served) -> None:
    raw = client(served).chat.completions.with_raw_response.create(**ASK)
    answer = raw.parse()
    assert answer.model == "gpt-5-mini"
    assert answer.choices[0].message.content
    assert raw.headers["x-turnout-route"] == "support/support-answer"
    assert raw.headers["x-turnout-candidate"] == "small"
    assert raw.headers["x-turnout-attempts"] == "1"
    assert raw.headers["x-request-id"]
    assert "server" not in raw.headers
    assert not [name for name in raw.headers if name.startswith("x-envoy") or name == "x-turnout-genuine"]


def test_the_official_client_gets_a_stream_to_its_end(served: Served) -> None:
    chunks = list(client(served).chat.completions.create(**ASK, stream=True))
    assert "".join(c.choices[0].delta.content or "" for c in chunks if c.choices)
    assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_an_anthropic_pool_is_asked_with_its_key_and_answers_in_the_clients_dialect(sim: Sim, served: Served) -> None:
    ask = {"model": "case-draft", "messages": [{"role": "user", "content": "long " * 200}]}
    raw = client(served).chat.completions.with_raw_response.create(**ask, extra_headers={"x-tenant-id": "acme"})  # type: ignore[call-overload] # the test's own body
    assert raw.headers["x-turnout-candidate"] == "frontier"
    assert raw.parse().choices[0].message.content
    entry = [e for e in sim.log() if e.model == "claude-sonnet-5"][-1]
    assert entry.path == "/v1/messages"


def test_the_models_of_the_folder_are_listed(served: Served) -> None:
    assert {model.id for model in client(served).models.list()} == {"support-answer", "case-draft"}


def test_an_unknown_model_and_an_unknown_path_are_refused(served: Served) -> None:
    with pytest.raises(openai.NotFoundError) as unknown:
        client(served).chat.completions.create(**{**ASK, "model": "nobody"})
    assert unknown.value.code == "model_not_found"
    assert served.get("/v1/files").status_code == 404


def test_every_request_is_a_line_of_the_access_log_without_its_prompt(served: Served) -> None:
    prompt = "a very private question"
    answer = served.post({**ASK, "messages": [{"role": "user", "content": prompt}]})
    line = waiting.until(
        lambda: next((r for r in served.requests() if r.get("request_id") == answer.headers["x-request-id"]), None),
        what="the line of this request",
        within=PATIENCE,
    )
    assert (line["route"], line["candidate"], line["model"]) == ("support/support-answer", "small", "gpt-5-mini")
    assert (line["status"], line["attempts"]) == (200, 1)
    usage = answer.json()["usage"]
    assert (line["input_tokens"], line["output_tokens"]) == (usage["prompt_tokens"], usage["completion_tokens"])
    assert line["cost_nano_usd"] == int(float(answer.headers["x-turnout-cost"]) * 1e9 + 0.5)
    assert prompt not in served.said()


def test_an_edit_under_an_open_stream_is_in_force_at_once_and_breaks_nothing(slow: Sim, tmp_path: Path) -> None:
    with Sim() as other, Served(local_folder(tmp_path / "m", slow.url), tmp_path / "s") as served:
        stream = iter(client(served).chat.completions.create(**ASK, stream=True))
        chunks = [next(stream)]
        served.forget()
        edit(tmp_path / "m" / "20-pools.yaml", slow.url, other.url)
        served.event("programmed")
        assert client(served).chat.completions.create(**ASK).choices[0].message.content
        assert [e.model for e in other.log()] == ["gpt-5-mini"]
        chunks += list(stream)
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        assert slow.bill().aborted == 0


def test_a_refused_edit_keeps_the_last_good_one_and_is_named(sim: Sim, tmp_path: Path) -> None:
    folder = local_folder(tmp_path / "m", sim.url)
    with Served(folder, tmp_path / "s") as served:
        served.forget()
        edit(folder / "30-routes.yaml", 'cost: "0.02"', 'cost: "0.000001"')
        loaded = served.event("loaded")
        assert [f["path"] for f in loaded["faults"]] == ["spec.budget.limits[0].cost"]
        assert loaded["faults"][0]["file"].endswith("30-routes.yaml")
        assert {r["route"]: r["service"] for r in loaded["routes"]}["support/support-answer"] == "LastGood"
        assert served.post(ASK).status_code == 200
        served.forget()
        edit(folder / "30-routes.yaml", "kind: LLMRoute", "kind: [LLMRoute")
        assert "not YAML" in served.event("refused")["faults"][0]["message"]
        assert served.post(ASK).status_code == 200


def test_a_deleted_route_is_not_served_any_more(sim: Sim, tmp_path: Path) -> None:
    folder = local_folder(tmp_path / "m", sim.url)
    with Served(folder, tmp_path / "s") as served:
        served.forget()
        (folder / "30-routes.yaml").unlink()
        served.event("programmed")
        assert served.post(ASK).status_code == 404


def test_a_spent_budget_stays_spent_over_a_restart_and_over_a_kill(sim: Sim, tmp_path: Path) -> None:
    folder = local_folder(tmp_path / "m", sim.url)
    edit(folder / "30-routes.yaml", 'window: Day, cost: "200"}\n  latency:\n    timeToFirstToken: {p50: 400ms', 'window: Day, cost: "0.004"}\n  latency:\n    timeToFirstToken: {p50: 400ms')  # fmt: skip
    sim.reset()
    with Served(folder, tmp_path / "s") as served:
        answers = [served.post({**ASK, "max_tokens": 600}) for _ in range(12)]
    spent = [a.status_code for a in answers].count(200)
    assert spent >= 1
    before = sim.bill().of(model="gpt-5-mini").cost_nano_usd
    assert before <= 4_000_000
    again = Served(folder, tmp_path / "s")
    with again:
        budgets = {r["route"]: r["budgets"] for r in again.event("loaded")["routes"]}["support/support-answer"]
        assert not budgets[0].startswith("day $0.00 of")
        for _ in range(12):
            again.post({**ASK, "max_tokens": 600})
        again.kill()
    with Served(folder, tmp_path / "s") as third:
        for _ in range(12):
            third.post({**ASK, "max_tokens": 600})
    assert before <= sim.bill().of(model="gpt-5-mini").cost_nano_usd <= 4_000_000


def test_a_provider_key_is_shown_nowhere(tmp_path: Path) -> None:
    with Sim(keys=[SECRET]) as sim:
        folder = local_folder(tmp_path / "m", sim.url)
        (folder / "10-secrets.yaml").unlink()
        (tmp_path / "key").write_text(SECRET + "\n")
        admin = _free_port()
        arguments = [
            "--secret",
            "llm/openai/apiKey=env:TEST_KEY",
            "--secret",
            f"llm/anthropic/apiKey=file:{tmp_path}/key",
        ]
        served = Served(
            folder,
            tmp_path / "s",
            *arguments,
            "--admin",
            str(admin),
            "--log-level",
            "debug",
            environment={"TEST_KEY": SECRET},
        )
        with served:
            assert served.post(ASK).status_code == 200
            assert served.post({**ASK, "model": "nobody"}).status_code == 404
            for path in ("/config_dump?include_eds", "/stats", "/clusters", "/init_dump", "/certs"):
                assert SECRET not in httpx.get(f"http://127.0.0.1:{admin}{path}", timeout=30).text, path
            envoy = served.envoy()
            assert SECRET not in Path(f"/proc/{envoy}/environ").read_bytes().decode(errors="replace")
            assert SECRET not in Path(f"/proc/{envoy}/cmdline").read_text()
            _assert_in_no_file(tmp_path / "s")
        assert SECRET not in served.said()
        _assert_in_no_file(tmp_path / "s")


def _assert_in_no_file(folder: Path) -> None:
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert files
    for file in files:
        assert SECRET.encode() not in file.read_bytes(), file


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_rotated_key_is_used_by_the_next_request_and_breaks_no_stream(tmp_path: Path) -> None:
    with Sim(SLOW, keys=["sk-old", "sk-new"]) as sim:
        folder = local_folder(tmp_path / "m", sim.url, "sk-old")
        with Served(folder, tmp_path / "s") as served:
            stream = iter(client(served).chat.completions.create(**ASK, stream=True))
            chunks = [next(stream)]
            edit(folder / "10-secrets.yaml", "sk-old", "sk-new")

            def used() -> int:
                assert served.post({**ASK, "max_tokens": 1}).status_code == 200
                return len({line.key for line in sim.bill().lines})

            waiting.until(lambda: used() == 2, what="a request with the new key", within=PATIENCE)
            chunks += list(stream)
            assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"


def test_an_envoy_that_dies_is_reported_and_found_again_at_the_same_address(sim: Sim, tmp_path: Path) -> None:
    with Served(local_folder(tmp_path / "m", sim.url), tmp_path / "s") as served:
        address, first = served.address, served.envoy()
        os.kill(first, 9)
        assert served.event("envoy_died")["status"] == -9

        def answers() -> bool:
            try:
                return served.post(ASK).status_code == 200
            except httpx.TransportError:
                return False  # refused, or not programmed yet

        waiting.until(answers, what="an answer from the next Envoy", within=PATIENCE)
        assert served.address == address
        assert served.envoy() != first


def test_envoy_does_not_outlive_a_killed_serve(sim: Sim, tmp_path: Path) -> None:
    served = Served(local_folder(tmp_path / "m", sim.url), tmp_path / "s")
    with served:
        envoy = served.envoy()
        served.kill()
    waiting.until(lambda: not Path(f"/proc/{envoy}").exists(), what="the end of Envoy", within=PATIENCE)


def test_a_request_under_way_is_finished_after_sigterm(slow: Sim, tmp_path: Path) -> None:
    with Served(local_folder(tmp_path / "m", slow.url), tmp_path / "s") as served:
        stream = iter(client(served).chat.completions.create(**ASK, stream=True))
        chunks = [next(stream)]
        assert served.process is not None
        served.process.terminate()
        chunks += list(stream)
        assert [c.choices[0].finish_reason for c in chunks if c.choices][-1] == "stop"
        assert served.wait() == 0
        served.event("stopped")


def test_nothing_to_serve_is_refused_with_the_faults(tmp_path: Path) -> None:
    folder = local_folder(tmp_path / "m", "http://127.0.0.1:1")
    edit(folder / "30-routes.yaml", "  owner: team-support\n", "")
    served = Served(folder, tmp_path / "s").start()
    assert served.wait() == 1
    assert {f["path"] for f in served.events[0]["faults"]} == {"spec.owner"}
    assert "no route of" in served.errors()


def test_a_taken_address_is_refused_before_envoy_starts(served: Served, sim: Sim, tmp_path: Path) -> None:
    host, port = served.address
    second = Served(local_folder(tmp_path / "m", sim.url), tmp_path / "s", listen=f"{host}:{port}").start()
    assert second.wait() == 1
    assert f"cannot listen on {host}:{port}" in second.errors()


def test_people_get_words_on_standard_error_and_the_access_log_alone_on_standard_output(
    sim: Sim, tmp_path: Path
) -> None:
    served = Served(local_folder(tmp_path / "m", sim.url), tmp_path / "s", "-o", "table").start()
    try:
        words = waiting.until(
            lambda: re.search(r"listening on (http://\S+)", served.errors()), what="the address", within=PATIENCE
        )
        assert httpx.get(f"{words[1]}/models", timeout=30).status_code == 200
        waiting.until(lambda: served.requests(), what="the line of the access log", within=PATIENCE)
    finally:
        assert served.stop() == 0
    assert "support/case-draft" in served.errors()
    assert {event["event"] for event in served.events} == {"request"}


def test_scripts_get_the_address_by_descriptor_and_the_access_log_in_a_file(sim: Sim, tmp_path: Path) -> None:
    read, write = os.pipe()
    log = tmp_path / "access.log"
    arguments = ["--ready-fd", str(write), "--access-log", str(log), "--namespace", "support"]
    with Served(local_folder(tmp_path / "m", sim.url), tmp_path / "s", *arguments, inherit=(write,)) as served:
        os.close(write)
        with os.fdopen(read) as ready:
            assert ready.read() == "{}:{}\n".format(*served.address)
        assert served.post(ASK).status_code == 200
        waiting.until(
            lambda: log.exists() and "support/support-answer" in log.read_text(), what="its line", within=PATIENCE
        )
        assert served.requests() == []
