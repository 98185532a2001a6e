"""Every scripted fault, as bytes on a raw socket."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from turnout_operator.sim import Outcome, Sim
from turnout_testing.rawwire import End, RawClient, request, split_head, unchunked

CHAT = "/v1/chat/completions"
MESSAGES = "/v1/messages"
ROLE = b'"role":"assistant"'
DELTA = b'"delta":{"content":'
TEXT_DELTA = b"text_delta"


def ask(*, stream: bool = True, tokens: int = 6, **more: Any) -> bytes:
    body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": f"hi [sim:output={tokens}]"}]}
    options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    return request(CHAT, {**body, **options, **more})


def ask_claude(*, stream: bool = True, tokens: int = 6) -> bytes:
    body = {"model": "claude-sonnet-5", "max_tokens": 100, "stream": stream}
    messages = [{"role": "user", "content": f"hi [sim:output={tokens}]"}]
    return request(MESSAGES, {**body, "messages": messages}, {"anthropic-version": "2023-06-01"})


def one(effect: str, value: Any, **more: Any) -> dict[str, Any]:
    return {"rules": [{"name": "fault", "effects": [{effect: value}], **more}]}


@pytest.fixture
def client(sim: Sim) -> Iterator[RawClient]:
    with RawClient(sim.host, sim.port) as raw:
        yield raw


def last(sim: Sim) -> Any:
    """The log entry of the only request, once it has ended."""
    sim.wait_for(lambda server: len(server.log()) == 1)
    return sim.log()[0]


def test_without_a_fault_the_stream_is_whole(sim: Sim, client: RawClient) -> None:
    client.send(ask())
    status, headers, body = split_head(client.read_until(b"0\r\n\r\n"))
    content, whole = unchunked(body)
    assert (status, whole, headers["content-type"]) == (200, True, "text/event-stream; charset=utf-8")
    assert content.endswith(b"data: [DONE]\n\n")
    assert content.count(DELTA) == 6
    entry = last(sim)
    assert (entry.outcome, entry.fault, entry.output_tokens) == (Outcome.SERVED, "", 6)


def test_status_answers_with_the_error_object_and_retry_after_and_costs_nothing(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("status", {"code": 429, "retryAfter": "1500ms", "headers": {"x-should-retry": "false"}}))
    client.send(ask())
    status, headers, body = split_head(client.read_until(b"}}"))
    assert (status, headers["retry-after"], headers["x-should-retry"]) == (429, "2", "false")
    assert json.loads(body)["error"]["type"] == "rate_limit_error"
    assert (last(sim).cost_nano_usd, last(sim).fault) == (0, "fault")


def test_status_speaks_the_dialect_of_the_request(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("status", {"code": 529}))
    client.send(ask_claude())
    status, _, body = split_head(client.read_until(b'"request_id":"req_sim"}'))
    assert (status, json.loads(body)["error"]["type"]) == (529, "overloaded_error")


def test_status_can_have_any_body(sim: Sim, client: RawClient) -> None:
    sim.set_script(
        {"rules": [{"effects": [{"status": {"code": 502, "body": "<html>"}}, {"contentType": "text/html"}]}]}
    )
    client.send(ask())
    status, headers, body = split_head(client.read_until(b"<html>"))
    assert (status, headers["content-type"], body) == (502, "text/html", b"<html>")


def test_reset_before_the_head_sends_no_byte(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("reset", {}))
    client.send(ask())
    assert client.read_to_end() == (b"", End.RESET)
    assert (last(sim).outcome, last(sim).cost_nano_usd) == (Outcome.BROKEN, 0)


def test_reset_after_the_head_sends_only_the_head(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("reset", {"at": "AfterHead"}))
    client.send(ask())
    seen, end = client.read_to_end()
    assert (split_head(seen)[0], split_head(seen)[2], end) == (200, b"", End.RESET)
    assert (last(sim).input_tokens, last(sim).output_tokens) == (5, 0)


@pytest.mark.parametrize("chunks", [0, 1, 4])
@pytest.mark.parametrize(("asked", "delta"), [(ask(), DELTA), (ask_claude(), TEXT_DELTA)], ids=["chat", "messages"])
def test_reset_after_n_chunks_sends_exactly_n_content_events(
    sim: Sim, client: RawClient, chunks: int, asked: bytes, delta: bytes
) -> None:
    sim.set_script(one("reset", {"at": "AfterChunks", "chunks": chunks}))
    client.send(asked)
    seen, end = client.read_to_end()
    content, whole = unchunked(split_head(seen)[2])
    assert (content.count(delta), whole, end) == (chunks, False, End.RESET)
    assert ROLE in content
    assert (last(sim).outcome, last(sim).output_tokens) == (Outcome.BROKEN, chunks)


def test_reset_in_a_plain_answer_cuts_its_body_in_half_and_bills_it(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("reset", {"at": "AfterChunks"}))
    client.send(ask(stream=False))
    seen, end = client.read_to_end()
    _, headers, body = split_head(seen)
    assert (len(body), end) == (int(headers["content-length"]) // 2, End.RESET)
    assert last(sim).output_tokens == 6


def test_hang_before_the_head_is_silent_until_the_client_leaves_and_bills_the_input(
    sim: Sim, client: RawClient
) -> None:
    sim.set_script(one("hang", {}))
    client.send(ask())
    sim.wait_for(lambda server: server.state().in_flight == 1)
    assert client.is_silent()
    client.close()
    entry = last(sim)
    assert (entry.outcome, entry.input_tokens, entry.output_tokens) == (Outcome.ABORTED, 5, 0)


def test_hang_after_the_head_keeps_the_connection_open(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("hang", {"at": "AfterHead"}))
    client.send(ask())
    client.read_until(b"\r\n\r\n")
    assert client.is_silent()
    assert sim.state().in_flight == 1
    client.close()
    assert last(sim).outcome is Outcome.ABORTED


def test_hang_after_chunks_bills_what_was_generated(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("hang", {"at": "AfterChunks", "chunks": 4}))
    client.send(ask_claude())
    client.read_until(TEXT_DELTA, 4)
    assert client.is_silent()
    client.close()
    assert (last(sim).outcome, last(sim).output_tokens) == (Outcome.ABORTED, 4)


def test_a_late_first_token_comes_after_head_and_role(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("lateFirstToken", "1h"))
    client.send(ask())
    client.read_until(b'"finish_reason":null}]')
    assert client.is_silent()
    client.close()
    assert (last(sim).outcome, last(sim).output_tokens) == (Outcome.ABORTED, 0)
    sim.reset()
    sim.set_script(one("lateFirstToken", "20ms"))
    with RawClient(sim.host, sim.port) as second:
        second.send(ask())
        assert second.read_until(b"[DONE]").count(DELTA) == 6


def test_a_stall_comes_after_exactly_n_chunks_and_then_the_stream_goes_on(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("stall", {"chunks": 3, "for": "1h"}))
    client.send(ask())
    assert client.read_until(DELTA, 3).count(DELTA) == 3
    assert client.is_silent()
    client.close()
    assert (last(sim).outcome, last(sim).output_tokens) == (Outcome.ABORTED, 3)
    sim.reset()
    sim.set_script(one("stall", {"chunks": 3, "for": "20ms"}))
    with RawClient(sim.host, sim.port) as second:
        second.send(ask())
        assert second.read_until(b"[DONE]").count(DELTA) == 6


def test_a_clean_cut_ends_the_body_without_the_last_events(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("cut", {"chunks": 2}))
    client.send(ask())
    content, whole = unchunked(split_head(client.read_until(b"0\r\n\r\n"))[2])
    assert (content.count(DELTA), whole) == (2, True)
    assert b"[DONE]" not in content
    assert b'"finish_reason":"stop"' not in content
    assert (last(sim).outcome, last(sim).output_tokens) == (Outcome.SERVED, 2)


def test_a_truncated_cut_ends_inside_an_event(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("cut", {"chunks": 2, "ending": "Truncated"}))
    client.send(ask_claude())
    content, whole = unchunked(split_head(client.read_until(b"0\r\n\r\n"))[2])
    *_, tail = content.split(b"\n\n")
    assert whole
    assert tail.startswith(b"event: content_block_delta")
    assert not tail.endswith(b"}")


def test_a_closed_cut_ends_with_fin_in_the_middle_of_the_body(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("cut", {"chunks": 2, "ending": "Closed"}))
    client.send(ask())
    seen, end = client.read_to_end()
    assert (unchunked(split_head(seen)[2])[1], end) == (False, End.FIN)
    assert last(sim).outcome is Outcome.BROKEN


def test_a_cut_plain_answer_is_half_a_json_text(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("cut", {"chunks": 0}))
    client.send(ask(stream=False))
    seen = client.read_until(b'"choices"')
    _, headers, body = split_head(seen)
    assert len(body) == int(headers["content-length"])
    with pytest.raises(json.JSONDecodeError):
        json.loads(body)


@pytest.mark.parametrize("kind", ["BadJSON", "NotAnObject", "WrongShape", "BadUTF8"])
@pytest.mark.parametrize(("asked", "delta"), [(ask(), DELTA), (ask_claude(), TEXT_DELTA)], ids=["chat", "messages"])
def test_only_the_nth_content_event_is_malformed(
    sim: Sim, client: RawClient, kind: str, asked: bytes, delta: bytes
) -> None:
    client.send(asked)
    right = unchunked(split_head(client.read_until(b"0\r\n\r\n"))[2])[0].split(b"\n\n")
    sim.set_script(one("malformed", {"chunk": 2, "kind": kind}))
    with RawClient(sim.host, sim.port) as second:
        second.send(asked)
        wrong = unchunked(split_head(second.read_until(b"0\r\n\r\n"))[2])[0].split(b"\n\n")
    place = [index for index, event in enumerate(right) if delta in event][1]
    differing = [i for i, (a, b) in enumerate(zip(right, wrong, strict=True)) if _steady(a) != _steady(b)]
    assert differing == [place]
    assert not _is_right(wrong[place])


def _steady(answer: bytes) -> bytes:
    """The bytes without what differs between two equal answers."""
    return re.sub(rb'sim[0-9]{8}|"created":[0-9]+', b"", answer)


def _is_right(event: bytes) -> bool:
    try:
        data = json.loads(event.partition(b"data: ")[2].decode())
    except ValueError:
        return False
    return isinstance(data, dict) and (isinstance(data.get("choices"), list) or isinstance(data.get("delta"), dict))


def test_a_broken_chunk_size_breaks_the_http_framing(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("malformed", {"chunk": 2, "kind": "BadChunkSize"}))
    client.send(ask())
    seen, end = client.read_to_end()
    assert end is End.FIN
    with pytest.raises(ValueError, match="zz"):
        unchunked(split_head(seen)[2])


@pytest.mark.parametrize(("asked", "done"), [(ask(), b"[DONE]"), (ask_claude(), b"message_stop")])
def test_missing_done_ends_cleanly_with_everything_else(sim: Sim, client: RawClient, asked: bytes, done: bytes) -> None:
    sim.set_script(one("missingDone", True))
    client.send(asked)
    content, whole = unchunked(split_head(client.read_until(b"0\r\n\r\n"))[2])
    assert (done in content, b"stop" in content, whole) == (False, True, True)


def test_slow_bytes_are_the_same_bytes(sim: Sim, client: RawClient) -> None:
    client.send(ask(tokens=2))
    fast = client.read_until(b"0\r\n\r\n")
    sim.set_script(one("slow", {"bytesPerSecond": 20_000}))
    with RawClient(sim.host, sim.port) as second:
        second.send(ask(tokens=2))
        slow = second.read_until(b"0\r\n\r\n")
    assert _steady(slow) == _steady(fast)


def test_slow_bytes_leave_the_client_with_a_part_of_the_head(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("slow", {"bytesPerSecond": 1}))
    client.send(ask())
    client.read_until(b"H")
    assert client.seen == b"H"
    client.close()
    assert (last(sim).outcome, last(sim).output_tokens) == (Outcome.ABORTED, 0)


@pytest.mark.parametrize(
    ("asked", "start"), [(ask(), b'data: {"error":'), (ask_claude(), b"event: error\ndata: ")], ids=["chat", "messages"]
)
def test_an_error_can_be_the_first_event_under_status_200(
    sim: Sim, client: RawClient, asked: bytes, start: bytes
) -> None:
    sim.set_script(one("errorEvent", {"message": "too busy"}))
    client.send(asked)
    status, headers, body = split_head(client.read_until(b"0\r\n\r\n"))
    content, whole = unchunked(body)
    assert (status, headers["content-type"][:17], whole) == (200, "text/event-stream", True)
    assert content.startswith(start)
    assert (content.count(b"\n\n"), b"too busy" in content) == (1, True)
    assert last(sim).cost_nano_usd == 0


def test_an_error_event_in_the_middle_bills_what_came_before(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("errorEvent", {"chunks": 2}))
    client.send(ask())
    content, _ = unchunked(split_head(client.read_until(b"0\r\n\r\n"))[2])
    assert content.count(DELTA) == 2
    assert b"overloaded_error" in content.rstrip().splitlines()[-1]
    assert last(sim).output_tokens == 2


def test_a_json_error_answers_a_stream_request_with_status_200(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("jsonError", {"message": "no"}))
    client.send(ask())
    status, headers, body = split_head(client.read_until(b"}}"))
    assert (status, headers["content-type"], json.loads(body)["error"]["message"]) == (200, "application/json", "no")


def test_a_wrong_content_type_changes_nothing_else(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("contentType", "text/plain"))
    client.send(ask())
    _, headers, body = split_head(client.read_until(b"0\r\n\r\n"))
    assert headers["content-type"] == "text/plain"
    assert unchunked(body)[0].endswith(b"data: [DONE]\n\n")


def usages(content: bytes) -> list[dict[str, Any]]:
    data = [json.loads(line[6:]) for line in content.splitlines() if line.startswith(b"data: {")]
    return [event["usage"] for event in data if event.get("usage")]


@pytest.mark.parametrize(("shape", "count"), [("Missing", 0), ("Zero", 1), ("Duplicate", 2), ("Contradictory", 2)])
@pytest.mark.parametrize("asked", [ask(), ask_claude()], ids=["chat", "messages"])
def test_usage_can_be_wrong_in_a_stream_and_the_bill_stays_right(
    sim: Sim, client: RawClient, shape: str, count: int, asked: bytes
) -> None:
    sim.set_script(one("usage", shape))
    client.send(asked)
    reports = usages(unchunked(split_head(client.read_until(b"0\r\n\r\n"))[2])[0])
    assert len(reports) == count
    if shape == "Contradictory":
        assert reports[0] != reports[1]
    if shape == "Zero":
        assert sum(value for value in reports[0].values() if isinstance(value, int)) == 0
    assert (last(sim).input_tokens, last(sim).output_tokens) == (5, 6)


def test_usage_can_be_missing_or_double_in_a_plain_answer(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("usage", "Missing"))
    client.send(ask(stream=False))
    assert b'"usage"' not in client.read_until(b'"fp_sim"}')
    sim.set_script(one("usage", "Duplicate"))
    with RawClient(sim.host, sim.port) as second:
        second.send(ask(stream=False))
        assert second.read_until(b'"usage"', 2)


def test_a_lie_is_reported_and_only_billed_when_scripted_so(sim: Sim, client: RawClient) -> None:
    lie = {"inputTokens": 90_000, "outputTokens": 1}
    sim.set_script(one("lie", lie))
    client.send(ask())
    report = usages(unchunked(split_head(client.read_until(b"0\r\n\r\n"))[2])[0])[0]
    assert (report["prompt_tokens"], report["completion_tokens"]) == (90_000, 1)
    assert (sim.bill().input_tokens, sim.bill().output_tokens) == (5, 6)
    sim.reset()
    sim.set_script(one("lie", {**lie, "billed": True}))
    with RawClient(sim.host, sim.port) as second:
        second.send(ask())
        second.read_until(b"0\r\n\r\n")
    assert (sim.bill().input_tokens, sim.bill().output_tokens) == (90_000, 1)


def test_a_huge_answer_ignores_the_cap_and_is_billed(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("huge", {"tokens": 50_000, "oneChunk": True}))
    client.send(ask(max_completion_tokens=3))
    content, whole = unchunked(split_head(client.read_until(b"0\r\n\r\n"))[2])
    assert (content.count(DELTA), whole, len(content) > 200_000) == (1, True, True)
    assert last(sim).output_tokens == 50_000


def test_an_answer_can_be_given_word_by_word(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("answer", {"text": "I can’t help with that.", "finishReason": "content_filter"}))
    client.send(ask(stream=False))
    status, _, body = split_head(client.read_until(b"}}}"))
    answer = json.loads(body)
    assert (status, answer["choices"][0]["finish_reason"]) == (200, "content_filter")
    assert answer["choices"][0]["message"]["content"] == "I can’t help with that."
    assert answer["usage"]["completion_tokens"] == 7  # 25 bytes


def test_an_empty_answer_has_no_content_event(sim: Sim, client: RawClient) -> None:
    sim.set_script(one("answer", {"text": ""}))
    client.send(ask())
    content = unchunked(split_head(client.read_until(b"0\r\n\r\n"))[2])[0]
    assert DELTA not in content
    assert content.endswith(b"data: [DONE]\n\n")


def test_effects_of_one_rule_act_together(sim: Sim, client: RawClient) -> None:
    sim.set_script({"rules": [{"effects": [{"cut": {"chunks": 1}}, {"contentType": "x/y"}, {"usage": "Zero"}]}]})
    client.send(ask())
    _, headers, body = split_head(client.read_until(b"0\r\n\r\n"))
    assert (headers["content-type"], unchunked(body)[0].count(DELTA)) == ("x/y", 1)


def test_a_rule_can_say_what_its_fault_costs(sim: Sim) -> None:
    for bills, output in (("Nothing", 0), ("Input", 0), ("Generated", 2), ("Everything", 6)):
        sim.reset()
        sim.set_script(one("reset", {"at": "AfterChunks", "chunks": 2}, bills=bills))
        with RawClient(sim.host, sim.port) as raw:
            raw.send(ask())
            raw.read_to_end()
        entry = last(sim)
        assert (entry.input_tokens, entry.output_tokens) == (0 if bills == "Nothing" else 5, output)
