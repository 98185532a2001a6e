"""Both official SDKs take the sim for their provider."""

import anthropic
import openai
import pytest

from turnout_operator.sim import Sim

HELLO = "hello, who are you?"  # 19 bytes: 5 tokens
KEY = "sk-test-1"


def chat(sim: Sim, *, retries: int = 0) -> openai.OpenAI:
    return openai.OpenAI(base_url=sim.openai_url, api_key=KEY, max_retries=retries)


def claude(sim: Sim, *, retries: int = 0) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=sim.url, api_key=KEY, max_retries=retries)


def test_a_plain_chat_answer_has_the_asked_length_and_the_right_usage(sim: Sim) -> None:
    answer = chat(sim).chat.completions.create(
        model="gpt-5-mini",
        messages=[{"role": "user", "content": HELLO}],
        extra_headers={"x-sim-output-tokens": "7"},
    )
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (5, 7, 12)
    assert answer.model == "gpt-5-mini"
    assert answer.choices[0].finish_reason == "stop"
    assert len((answer.choices[0].message.content or "").split()) == 7


def test_the_cap_is_obeyed_and_told_as_length(sim: Sim) -> None:
    for cap in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        answer = chat(sim).chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": "[sim:output=9]"}], extra_body=cap
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 3
        assert answer.choices[0].finish_reason == "length"


def test_a_chat_stream_joins_to_the_plain_answer_of_the_same_body(sim: Sim) -> None:
    client = chat(sim)
    chunks = list(
        client.chat.completions.create(
            model="gpt-5-mini",
            messages=[{"role": "user", "content": "count [sim:output=5]"}],
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    assert chunks[0].choices[0].delta.role == "assistant"
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert len(text.split()) == 5
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert chunks[-1].choices == []
    assert chunks[-1].usage is not None
    assert (chunks[-1].usage.prompt_tokens, chunks[-1].usage.completion_tokens) == (5, 5)
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_a_chat_stream_without_include_usage_never_tells_usage(sim: Sim) -> None:
    chunks = list(
        chat(sim).chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": HELLO}], stream=True, max_completion_tokens=3
        )
    )
    assert all(chunk.choices and chunk.usage is None for chunk in chunks)


def test_n_choices_differ_and_are_all_counted(sim: Sim) -> None:
    client = chat(sim)
    answer = client.chat.completions.create(
        model="gpt-5-mini", messages=[{"role": "user", "content": "[sim:output=4]"}], n=3
    )
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) == 3
    streamed = client.chat.completions.create(
        model="gpt-5-mini",
        messages=[{"role": "user", "content": "[sim:output=4]"}],
        n=3,
        stream=True,
        stream_options={"include_usage": True},
    )
    texts = ["", "", ""]
    for chunk in streamed:
        for choice in chunk.choices:
            texts[choice.index] += choice.delta.content or ""
    assert [len(text.split()) for text in texts] == [4, 4, 4]
    assert sim.bill().of(model="gpt-5-mini").output_tokens == 24


def test_equal_bodies_get_equal_answers_and_other_bodies_others(sim: Sim) -> None:
    client = chat(sim)

    def said(prompt: str) -> str:
        answer = client.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": prompt}])
        return answer.choices[0].message.content or ""

    assert said("one") == said("one")
    assert said("one") != said("two")


def test_a_plain_message_has_the_asked_length_and_the_right_usage(sim: Sim) -> None:
    answer = claude(sim).messages.create(
        model="claude-sonnet-5", max_tokens=6, messages=[{"role": "user", "content": HELLO}]
    )
    assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 6)
    assert answer.stop_reason == "max_tokens"
    block = answer.content[0]
    assert block.type == "text"
    assert len(block.text.split()) == 6


def test_a_message_stream_accumulates_to_the_whole_message(sim: Sim) -> None:
    with claude(sim).messages.stream(
        model="claude-sonnet-5",
        max_tokens=50,
        system="be brief",
        messages=[{"role": "user", "content": "count [sim:output=5]"}],
    ) as stream:
        kinds = [event.type for event in stream]
        message = stream.get_final_message()
    assert message.stop_reason == "end_turn"
    assert (message.usage.input_tokens, message.usage.output_tokens) == (7, 5)
    assert kinds[0] == "message_start"
    assert kinds[-1] == "message_stop"


def test_cached_tokens_are_told_in_each_dialects_own_way_and_billed_at_their_price(sim: Sim) -> None:
    prompt = "x" * 4000 + "[sim:output=1 cached=600 cache_write=300]"
    tokens = -(-len(prompt) // 4)
    openai_usage = (
        chat(sim).chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": prompt}]).usage
    )
    assert openai_usage is not None
    assert openai_usage.prompt_tokens_details is not None
    assert (openai_usage.prompt_tokens, openai_usage.prompt_tokens_details.cached_tokens) == (tokens, 600)
    usage = (
        claude(sim)
        .messages.create(model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": prompt}])
        .usage
    )
    parts = (usage.input_tokens, usage.cache_read_input_tokens, usage.cache_creation_input_tokens)
    assert parts == (tokens - 900, 600, 300)
    fresh = tokens - 900
    assert sim.bill().of(model="gpt-5-mini").cost_nano_usd == fresh * 250 + 600 * 25 + 300 * 250 + 2000
    assert sim.bill().of(model="claude-sonnet-5").cost_nano_usd == fresh * 3000 + 600 * 300 + 300 * 3750 + 15000


def test_each_dialect_lists_its_models(sim: Sim) -> None:
    assert [model.id for model in chat(sim).models.list()] == ["gpt-5-mini", "qwen3-8b"]
    assert [model.id for model in claude(sim).models.list()] == ["claude-sonnet-5"]


def test_counting_tokens_tells_what_the_message_will_cost(sim: Sim) -> None:
    counted = claude(sim).messages.count_tokens(model="claude-sonnet-5", messages=[{"role": "user", "content": HELLO}])
    assert counted.input_tokens == 5
    assert sim.bill().requests == 0


def test_a_model_of_the_other_dialect_or_of_none_is_not_found(sim: Sim) -> None:
    for model in ("claude-sonnet-5", "gpt-2"):
        with pytest.raises(openai.NotFoundError) as found:
            chat(sim).chat.completions.create(model=model, messages=[{"role": "user", "content": HELLO}])
        assert found.value.code == "model_not_found"
    with pytest.raises(anthropic.NotFoundError):
        claude(sim).messages.create(model="gpt-5-mini", max_tokens=9, messages=[{"role": "user", "content": HELLO}])


def test_a_wrong_key_is_refused_in_both_dialects_and_never_logged() -> None:
    with Sim(keys=("sk-right",)) as sim:
        with pytest.raises(openai.AuthenticationError):
            chat(sim).chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": HELLO}])
        with pytest.raises(anthropic.AuthenticationError):
            claude(sim).messages.create(
                model="claude-sonnet-5", max_tokens=9, messages=[{"role": "user", "content": HELLO}]
            )
        right = openai.OpenAI(base_url=sim.openai_url, api_key="sk-right")
        right.chat.completions.create(model="gpt-5-mini", messages=[{"role": "user", "content": HELLO}])
        assert [entry.status for entry in sim.log()] == [401, 401, 200]
        assert [line.requests for line in sim.bill().lines] == [1]
        shown = f"{sim.log()}{sim.bill()}"
        assert "sk-right" not in shown
        assert KEY not in shown


def test_what_no_provider_takes_is_refused_with_its_words(sim: Sim) -> None:
    client = chat(sim)
    for extra, words in (
        ({"max_tokens": 5, "max_completion_tokens": 5}, "at the same time"),
        ({"max_tokens": 0}, "at least 1"),
        ({"n": 0}, "Invalid 'n'"),
        ({"stream_options": {"include_usage": True}}, "only allowed when"),
        ({"max_tokens": 128_001}, "at most 128000"),
    ):
        with pytest.raises(openai.BadRequestError, match=words):
            client.chat.completions.create(
                model="gpt-5-mini", messages=[{"role": "user", "content": HELLO}], extra_body=extra
            )
    with pytest.raises(openai.BadRequestError) as too_long:
        client.chat.completions.create(model="qwen3-8b", messages=[{"role": "user", "content": "x" * 4 * 40_961}])
    assert too_long.value.code == "context_length_exceeded"
    assert sim.bill().requests == 0


def test_bill_lines_are_kept_per_key_model_and_end_user(sim: Sim) -> None:
    client = chat(sim)
    for user in ("ada", "ada", "bob"):
        client.chat.completions.create(
            model="gpt-5-mini", messages=[{"role": "user", "content": HELLO}], user=user, max_completion_tokens=2
        )
    claude(sim).messages.create(
        model="claude-sonnet-5",
        max_tokens=2,
        messages=[{"role": "user", "content": HELLO}],
        metadata={"user_id": "ada"},
    )
    bill = sim.bill()
    assert bill.of(tag="ada", model="gpt-5-mini").requests == 2
    assert bill.of(tag="ada").requests == 3
    assert bill.of(tag="bob").cost_nano_usd == 5 * 250 + 2 * 2000
    assert bill.cost_nano_usd == sum(line.cost_nano_usd for line in bill.lines)
