"""Writes an order: what the model answers to a request, with the effects that change the answer itself."""

import random
from collections.abc import Sequence

import msgspec

from turnout_operator.sim import amounts, chat, messages, text
from turnout_operator.sim import ask as asking
from turnout_operator.sim.ask import Ask
from turnout_operator.sim.order import Order
from turnout_operator.sim.pricing import Usage
from turnout_operator.sim.profile import Dialect, Model, Profile
from turnout_operator.sim.script import Answer, Effect, Huge, Lie
from turnout_operator.sim.text import Words

_FINISH = {Dialect.OPENAI: chat.FINISH, Dialect.ANTHROPIC: messages.FINISH}
_CHOICE_GAP = 101  # words between the beginnings of two choices, so that they differ


def write(
    ask: Ask,
    model: Model,
    profile: Profile,
    effects: Sequence[Effect],
    rng: random.Random,
    *,
    number: int,
    created: int,
) -> Order:
    """The order for a checked request. `created`: Unix seconds. Draws the length only where none was wished for."""
    drawn = 0 if ask.wishes.output is not None else round(amounts.draw(model.output_tokens, rng))
    tokens, finish = asking.output_tokens(ask, model, drawn)
    texts = _own_words(ask, tokens, profile.tokens_per_chunk)
    order = Order(
        number=number,
        created=created,
        ask=ask,
        texts=texts,
        finish=_FINISH[ask.dialect][finish],
        reported=Usage(),
        billed=Usage(),
    )
    for effect in effects:
        order = _amend(order, effect, profile.tokens_per_chunk)
    return _with_usage(order, effects, profile.bytes_per_token)


def _own_words(ask: Ask, tokens: int, per_chunk: int) -> tuple[Words, ...]:
    begins = range(ask.begin, ask.begin + ask.choices * _CHOICE_GAP, _CHOICE_GAP)
    return tuple(Words(text.answer(begin, tokens), tokens, per_chunk) for begin in begins)


def _amend(order: Order, effect: Effect, per_chunk: int) -> Order:
    match effect:
        case Effect(huge=Huge(tokens=tokens, one_chunk=one_chunk)):
            texts = _own_words(order.ask, tokens, max(1, tokens) if one_chunk else per_chunk)
            return msgspec.structs.replace(order, texts=texts)
        case Effect(answer=Answer(text=given, finish_reason=reason)):
            texts = (Words(given, text.count(given), per_chunk),) * order.ask.choices
            return msgspec.structs.replace(order, texts=texts, finish=reason or order.finish)
        case Effect(usage=shape) if shape is not None:
            return msgspec.structs.replace(order, shape=shape)
        case _:
            return order


def _with_usage(order: Order, effects: Sequence[Effect], bytes_per_token: int) -> Order:
    tokens = asking.input_tokens(order.ask, bytes_per_token)
    cached = min(order.ask.wishes.cached, tokens)
    written = min(order.ask.wishes.cache_write, tokens - cached)
    right = Usage(input=tokens, output=order.tokens, cached=cached, cache_write=written)
    reported = billed = right
    for lie in (effect.lie for effect in effects if effect.lie is not None):
        reported = _lie(right, lie)
        billed = reported if lie.billed else right
    return msgspec.structs.replace(order, reported=reported, billed=billed)


def _lie(right: Usage, lie: Lie) -> Usage:
    tokens = right.input if lie.input_tokens is None else lie.input_tokens
    output = right.output if lie.output_tokens is None else lie.output_tokens
    cached = min(right.cached, tokens)
    return Usage(input=tokens, output=output, cached=cached, cache_write=min(right.cache_write, tokens - cached))
