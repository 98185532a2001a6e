"""What outlives a policy, and what the operator is told."""

import random

import msgspec
import pytest

from turnout_sidecar.core.exchange import State
from turnout_sidecar.core.host import Head
from turnout_sidecar.core.runtime import Runtime
from turnout_sidecar.engine import Engine
from turnout_sidecar.policy.codec import PolicyRefused
from turnout_sidecar.policy.units import Millis
from turnout_testing import policyfixture
from turnout_testing.fakebed import FakeBed, RecordingSink
from turnout_testing.fakehost import FakeHost
from turnout_testing.policyfixture import ROUTE
from turnout_testing.scenario import parse

NOW = Millis(1_000)


def an_engine() -> Engine:
    engine = Engine(epoch="e1", rng=random.Random(1), wall=lambda: 1_790_000_000_000)
    engine.metrics = RecordingSink()
    return engine


def edited(document: bytes, **route: object) -> bytes:
    """The policy with another version and these fields of its route."""
    found = msgspec.json.decode(document)
    found["version"] = "edited"
    found["routes"][0] |= route
    return msgspec.json.encode(found)


def ask(engine: Engine, runtime: Runtime) -> FakeHost:
    host = FakeHost()
    body = b'{"model":"answer","messages":[{"role":"user","content":"x"}]}'
    engine.open(runtime, host).on_request("POST", "/v1/chat/completions", body, NOW)
    return host


@pytest.mark.parametrize("document", [b"", b"{", b"[]", b'{"schema":99,"version":"v9"}', b"\xff"])
def test_a_document_that_cannot_be_used_is_refused_and_reported(document: bytes) -> None:
    engine = an_engine()
    with pytest.raises(PolicyRefused):
        engine.configure(document)
    report = engine.report(NOW)
    assert report.refused_words
    assert report.refused_version == ("v9" if b"v9" in document else "")


def test_what_served_before_a_refused_document_goes_on_being_reported() -> None:
    engine = an_engine()
    version = engine.configure(policyfixture.document({})).version
    with pytest.raises(PolicyRefused):
        engine.configure(b"{")
    assert engine.report(NOW).policy_version == version
    engine.configure(policyfixture.document({}))
    assert engine.report(NOW).refused_words == "", "a good document clears the refusal"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"limits": [{"surprise": 1}]}, "limits"),
        ({"rules": [{"name": "r", "when": "request.", "use": ["small"]}]}, "parse"),
        ({"degradation": []}, "no degradation path for Unavailable"),
        ({"order": ["nobody"]}, "nobody"),
    ],
    ids=["unreadable", "a rule that cannot be compiled", "a fault without a path", "an unknown candidate"],
)
def test_a_route_that_cannot_be_served_keeps_its_last_good_version(fields: dict[str, object], words: str) -> None:
    engine = an_engine()
    good = policyfixture.document({"max_output": "77"})
    engine.configure(good)
    runtime = engine.configure(edited(good, **fields))
    (refused,) = engine.report(NOW).refused_routes
    assert (refused.route, words in refused.reason) == (ROUTE, True), refused.reason
    assert ask(engine, runtime).streams[1].document["max_completion_tokens"] == 77


def test_a_route_that_never_was_good_is_not_served() -> None:
    engine = an_engine()
    runtime = engine.configure(edited(policyfixture.document({}), degradation=[]))
    assert ask(engine, runtime).status == 404


def test_a_route_that_is_gone_from_the_policy_is_gone() -> None:
    engine = an_engine()
    good = policyfixture.document({})
    engine.configure(good)
    document = msgspec.json.decode(good) | {"routes": [], "version": "none"}
    assert ask(engine, engine.configure(msgspec.json.encode(document))).status == 404


def test_a_running_request_ends_with_the_policy_that_it_began_with() -> None:
    bed = FakeBed()
    for line in ("policy", "request stream", 'upstream 1 chunk "Hel"', "policy path.Unavailable=503", "on first"):
        command = parse(line)[0].commands[0]
        if command.name != "on":
            bed.run(command)
    for line in ('upstream 1 chunk "lo"', "upstream 1 finish", "upstream 1 done end"):
        bed.run(parse(line)[0].commands[0])
    assert bed.host.end == "clean"


def test_a_breaker_outlives_the_policy() -> None:
    bed = FakeBed()
    lines = (
        "policy retry=none health=1/30s/1/5m",
        "request",
        "upstream 1 refusal server_error status=500",
        "policy retry=none health=2/30s/1/5m",
    )
    for line in lines:
        bed.run(parse(line)[0].commands[0])
    assert [b.state for b in bed.engine.report(bed.clock.now).breakers if b.pool == "llm/openai"] == ["Open"]


def test_in_flight_attempts_are_reported_by_pool() -> None:
    engine = an_engine()
    ask(engine, engine.configure(policyfixture.document({})))
    assert {(p.pool, p.in_flight) for p in engine.report(NOW).in_flight} == {
        ("llm/openai", 1),
        ("llm/claude", 0),
        ("llm/vllm", 0),
    }


def test_a_cluster_that_could_not_be_asked_is_reported_until_it_can_be_or_nobody_asks() -> None:
    bed = FakeBed()
    for line in ("policy retry=none", "request refused", 'upstream 1 answer "Hi" 9 2'):
        bed.run(parse(line)[0].commands[0])
    assert bed.engine.report(bed.clock.now).clusters_failing == ("openai-cluster",)
    assert bed.engine.report(Millis(bed.clock.now + 60_000)).clusters_failing == ()
    for line in ("request", 'upstream 1 answer "Hi" 9 2'):
        bed.run(parse(line)[0].commands[0])
    assert bed.engine.report(bed.clock.now).clusters_failing == ()


def test_reports_are_numbered() -> None:
    engine = an_engine()
    assert [engine.report(NOW).sequence for _ in range(3)] == [1, 2, 3]


def test_no_answer_changes_nothing() -> None:
    engine = an_engine()
    engine.on_answer(None, NOW)
    assert engine.report(NOW).epoch.accounts == ()


def test_a_bug_is_a_counted_500_in_the_clients_dialect() -> None:
    engine = an_engine()
    runtime = engine.configure(policyfixture.document({"limit.request": "1"}))
    host = FakeHost()
    exchange = engine.open(runtime, host)
    exchange.on_bug(RuntimeError("the prompt"), NOW)
    assert (host.status, host.end, exchange.state) == (500, "clean", State.ENDED)
    assert b'"code":"internal_error"' in host.body
    assert b"the prompt" not in host.body


def test_a_bug_inside_a_stream_ends_it_in_an_error_event_and_a_reset() -> None:
    bed = FakeBed()
    for line in ("policy", "request stream", 'upstream 1 chunk "Hel"'):
        bed.run(parse(line)[0].commands[0])
    assert bed.exchange is not None
    bed.exchange.on_bug(RuntimeError(), bed.clock.now)
    assert (bed.host.end, bed.host.streams[1].fate) == ("reset", "cancelled")
    assert bed.host.body.endswith(b"}\n\n")
    assert b'"code":"internal_error"' in bed.host.body


def test_events_of_an_ended_exchange_are_nobodys() -> None:
    bed = FakeBed()
    for line in ("policy", "request", 'upstream 1 answer "Hi" 9 2'):
        bed.run(parse(line)[0].commands[0])
    exchange, said = bed.exchange, list(bed.host.transcript)
    assert exchange is not None
    exchange.on_attempt_head(1, Head(200, "application/json", "", True), False, NOW)
    exchange.on_attempt_data(1, b"x", True, NOW)
    exchange.on_attempt_end(1, NOW)
    exchange.on_attempt_reset(1, NOW)
    exchange.on_alarm(NOW)
    exchange.on_client_gone(NOW)
    exchange.on_bug(RuntimeError(), NOW)
    assert bed.host.transcript == said


def test_after_the_shutdown_nothing_is_held_any_more_and_the_report_is_final() -> None:
    bed = FakeBed()
    for line in ("policy limit.day=1", "grant day 0.5", "request max_tokens=100"):
        bed.run(parse(line)[0].commands[0])
    bed.engine.shutdown(bed.clock.now)
    report = bed.engine.report(bed.clock.now).epoch
    assert report.final
    assert [(a.held, a.spent > 0) for a in report.accounts] == [(0, True)]
    bed.run(parse('upstream 1 answer "Hi" 9 2')[0].commands[0])
    assert bed.host.end == "clean", "who was being answered still is"
