"""Real sidecars under the operator: programmed by their own acknowledgement, undisturbed by edits, rotations and lost leaders."""

from __future__ import annotations

import base64
import json
import threading
from typing import TYPE_CHECKING, Any

import openai
import pytest

from turnout_testing import waiting

if TYPE_CHECKING:
    from pathlib import Path

    from turnout_testing.installation import Sidecar

    from .conftest import World

PATIENCE = 60
KEY = "sk-never-print-me-7c1f"


def client(sidecar: Sidecar) -> openai.OpenAI:
    return openai.OpenAI(base_url=sidecar.url, api_key="unused", max_retries=0, timeout=60)


def ask(sidecar: Sidecar, content: str = "[sim:output=5] hello", **options: Any) -> Any:
    messages: Any = [{"role": "user", "content": content}]
    return client(sidecar).chat.completions.create(model="answer", messages=messages, **options)


def edit(world: World, **labels: str) -> None:
    """A new generation that changes what sidecars run."""
    fresh = world.installed.get("llmroute", "traffic", "answer")
    body = {k: fresh[k] for k in ("apiVersion", "kind", "spec")} | {
        "metadata": {"name": "answer", "namespace": "traffic"}
    }
    body["spec"]["feature"] = labels["feature"]
    world.installed.apply(body)


def settled(world: World) -> bool:
    found = world.installed.get("llmroute", "traffic", "answer")
    status = found["status"]
    generation = found["metadata"]["generation"]
    ready = next(c for c in status["conditions"] if c["type"] == "Programmed")
    return bool(
        status["observedGeneration"] == generation
        and status["sidecars"] == {"connected": 2, "programmed": 2}
        and ready["status"] == "True"
        and f"generation {generation}" in ready["message"]
    )


def test_both_sidecars_answer_through_the_official_sdk(world: World) -> None:
    for sidecar in world.sidecars:
        assert ask(sidecar).choices[0].message.content
        chunks = list(ask(sidecar, stream=True))
        assert chunks[-1].choices[0].finish_reason == "stop"


def test_a_route_is_programmed_only_when_every_sidecar_has_acknowledged_it(world: World) -> None:
    edit(world, feature="acknowledged")
    waiting.until(lambda: settled(world), what="both sidecars on the new generation", within=PATIENCE)


def test_a_sidecar_that_refuses_the_policy_makes_programmed_false_with_its_own_words(
    world: World, tmp_path: Path
) -> None:
    # A mutant on the test's path: a sidecar of a later version that no longer reads today's policies.
    (tmp_path / "sitecustomize.py").write_text(
        "from turnout_sidecar.policy import codec\ncodec.SCHEMAS_READ = (999,)\n"
    )
    broken = world.installed.sidecar("traffic", "app-broken", python_path=(str(tmp_path),))
    words = "policy schema 1 is not among those this sidecar reads"
    try:
        refused = waiting.until(lambda: _refused_with(world, words), what=words, within=PATIENCE)
        assert refused["reason"] == "Rejected"
    finally:
        broken.process.terminate(20)
    waiting.until(lambda: settled(world), what="the two good sidecars alone", within=PATIENCE)


def _refused_with(world: World, words: str) -> dict[str, Any]:
    """Envoy's own complaint comes first and says little; the engine's words come by the next report."""
    found = world.installed.condition("llmroute", "traffic", "answer", "Programmed")
    return found if found.get("status") == "False" and words in found["message"] else {}


def test_an_edit_breaks_no_stream(world: World) -> None:
    world.sim.set_script({"rules": [{"match": {"stream": True}, "effects": [{"slow": {"bytesPerSecond": 3000}}]}]})
    try:
        done: list[int] = []

        def stream(sidecar: Sidecar) -> None:
            seen = [
                c for c in ask(sidecar, "[sim:output=60] long", stream=True) if c.choices and c.choices[0].delta.content
            ]
            done.append(len(seen))

        threads = [threading.Thread(target=stream, args=(s,)) for s in world.sidecars for _ in range(3)]
        for thread in threads:
            thread.start()
        waiting.until(lambda: world.sim.state().in_flight == 6, what="six streams under way", within=PATIENCE)
        edit(world, feature="edited-under-load")
        waiting.until(lambda: settled(world), what="the edit acknowledged", within=PATIENCE)
        for thread in threads:
            thread.join(PATIENCE)
        assert done == [60] * 6
    finally:
        world.sim.set_script(None)


def test_a_rotated_provider_key_reaches_the_sidecars_and_is_printed_nowhere(world: World) -> None:
    fresh = "sk-never-print-me-rotated"
    patch = {"data": {"apiKey": base64.b64encode(fresh.encode()).decode()}}
    world.installed.plane.kubectl("patch", "secret", "sim", "-n", "llm", "--type=merge", f"--patch={json.dumps(patch)}")
    # The stand-in provider knows the old key only, so the new one shows by being refused.
    waiting.until(lambda: _refused(world), what="the new key on the wire", within=PATIENCE)
    back = {"data": {"apiKey": base64.b64encode(KEY.encode()).decode()}}
    world.installed.plane.kubectl("patch", "secret", "sim", "-n", "llm", "--type=merge", f"--patch={json.dumps(back)}")
    waiting.until(lambda: not _refused(world), what="the old key again", within=PATIENCE)
    for sidecar in world.sidecars:
        for path in ("/config_dump?include_eds", "/stats", "/clusters"):
            assert "sk-never-print-me" not in sidecar.admin(path)
        assert "sk-never-print-me" not in sidecar.log()


def _refused(world: World) -> bool:
    try:
        ask(world.sidecars[0])
    except openai.APIStatusError:
        return True
    return False


def test_traffic_goes_on_while_every_operator_is_dead_and_after_they_return(world: World) -> None:
    for sidecar in world.sidecars:
        ask(sidecar)
    for replica in world.installed.replicas:
        replica.process.kill()
    for sidecar in world.sidecars:
        assert ask(sidecar).choices[0].message.content
    world.installed.start_operators()
    waiting.until(lambda: settled(world), what="both sidecars connected again", within=PATIENCE)
    for sidecar in world.sidecars:
        assert ask(sidecar).choices[0].message.content


def test_when_the_first_provider_is_down_the_second_answers_and_says_why(world: World) -> None:
    world.sim.set_script(
        {"rules": [{"match": {"nth": {"first": 1, "last": 1}}, "effects": [{"status": {"code": 503}}]}]}
    )
    try:
        raw = client(world.sidecars[0]).chat.completions.with_raw_response.create(
            model="answer", messages=[{"role": "user", "content": "hello"}]
        )
    finally:
        world.sim.set_script(None)
    assert raw.headers["x-turnout-candidate"] == "second"
    assert raw.headers["x-turnout-degraded"]
    assert raw.headers["x-turnout-attempts"] == "2"


def test_a_spent_budget_is_refused_with_the_windows_end_and_outlives_its_route(world: World) -> None:
    from .conftest import programmed, route

    world.installed.apply(route("tight", day="0.004"))
    waiting.until(lambda: programmed(world.installed, "tight", 2), what="the tight route programmed", within=PATIENCE)
    before = world.sim.bill().cost_nano_usd

    def spend() -> openai.APIStatusError | None:
        try:
            for sidecar in world.sidecars:
                client(sidecar).chat.completions.create(
                    model="tight", messages=[{"role": "user", "content": "[sim:output=200] spend"}], max_tokens=200
                )
        except openai.APIStatusError as e:
            return e if e.code == "budget_exhausted" else None
        return None

    refusal = waiting.until(spend, what="the budget to run out", within=PATIENCE)
    assert refusal.status_code == 429
    assert refusal.response.headers["x-should-retry"] == "false"
    assert int(refusal.response.headers["retry-after"]) > 0
    assert world.sim.bill().cost_nano_usd - before <= 4_000_000
    world.installed.plane.kubectl("delete", "llmroute", "tight", "-n", "traffic")
    world.installed.apply(route("tight", day="0.004"))
    waiting.until(lambda: programmed(world.installed, "tight", 2), what="the route programmed again", within=PATIENCE)
    with pytest.raises(openai.APIStatusError) as again:
        client(world.sidecars[0]).chat.completions.create(
            model="tight", messages=[{"role": "user", "content": "[sim:output=200] spend"}], max_tokens=200
        )
    assert again.value.code == "budget_exhausted"
    world.installed.plane.kubectl("delete", "llmroute", "tight", "-n", "traffic")


def test_the_autoscalers_metric_is_always_there_and_counts_what_is_in_flight(world: World) -> None:
    leader = waiting.until(lambda: world.installed.leader, what="a leader", within=PATIENCE)
    sample = 'turnout_pool_in_flight{namespace="llm",pool="primary"}'
    waiting.until(lambda: f"{sample} 0.0" in leader.metrics(), what="the metric at rest", within=PATIENCE)
    world.sim.set_script({"rules": [{"effects": [{"hang": {"at": "BeforeHead"}}]}]})
    try:
        thread = threading.Thread(target=lambda: _refused(world))
        thread.start()
        waiting.until(lambda: f"{sample} 1.0" in leader.metrics(), what="one request in flight", within=PATIENCE)
    finally:
        world.sim.set_script(None)
        world.sim.down()
        world.sim.up()
    thread.join(PATIENCE)
