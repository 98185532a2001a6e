"""What each scripted effect does to an answer. Pure: a draft in, a draft out."""

import math
from collections.abc import Sequence

import msgspec

from turnout_operator.sim import draft as drafting
from turnout_operator.sim import script
from turnout_operator.sim.draft import Draft
from turnout_operator.sim.order import Close, Hang, Part, Reset, Send, Step, Wait
from turnout_operator.sim.profile import Dialect
from turnout_operator.sim.script import At, Bills, Effect, Ending, Garbage

_BILL_ORDER = (Bills.NOTHING, Bills.INPUT, Bills.GENERATED)


def bills(effects: Sequence[Effect]) -> Bills:
    """What these effects let the provider bill when the rule does not say: the least of them."""
    return min(map(_bills, effects), key=_BILL_ORDER.index, default=Bills.GENERATED)


def _bills(effect: Effect) -> Bills:
    match effect:
        case Effect(status=script.Status()) | Effect(json_error=script.JsonError()):
            return Bills.NOTHING
        case Effect(reset=script.Reset(at=At.BEFORE_HEAD)) | Effect(error_event=script.ErrorEvent(chunks=None)):
            return Bills.NOTHING
        case Effect(hang=script.Hang(at=At.BEFORE_HEAD)):
            return Bills.INPUT  # the prompt was read, no answer was begun
        case _:
            return Bills.GENERATED


def apply(draft: Draft, effects: Sequence[Effect]) -> Draft:
    """The draft after all effects: what replaces the answer first, what ends it last.

    Effects on the order itself (`orders`) and `slow` (the wire's pace) are applied elsewhere.
    """
    for effect in sorted(effects, key=_rank):
        draft = _apply(draft, effect)
    return draft


def _rank(effect: Effect) -> int:
    if effect.status is not None or effect.json_error is not None:
        return 0
    return 2 if effect.ends else 1


def _apply(draft: Draft, effect: Effect) -> Draft:
    match effect:
        case Effect(status=script.Status() as status):
            return _status(draft, status)
        case Effect(json_error=script.JsonError() as fault):
            body = drafting.ERRORS[draft.dialect](max(fault.code, 400), fault.message, kind=fault.type)
            return drafting.whole(draft.dialect, fault.code, body, {})
        case Effect(reset=script.Reset(at=at, chunks=chunks)):
            return draft.with_steps([*_until(draft, at, chunks), Reset()])
        case Effect(hang=script.Hang(at=at, chunks=chunks)):
            return draft.with_steps([*_until(draft, at, chunks), Hang()])
        case Effect(late_first_token=seconds) if seconds is not None:
            return _insert(draft, _first_content(draft), Wait(seconds))
        case Effect(stall=script.Stall(chunks=chunks, duration=duration)):
            return _insert(draft, len(_until(draft, At.AFTER_CHUNKS, chunks)), Wait(duration))
        case Effect(cut=script.Cut() as cut):
            return _cut(draft, cut)
        case Effect(malformed=script.Malformed() as malformed):
            return _malformed(draft, malformed)
        case Effect(missing_done=True):
            return draft.with_steps(s for s in draft.steps if not (isinstance(s, Send) and s.part is Part.DONE))
        case Effect(error_event=script.ErrorEvent() as event):
            return _error_event(draft, event)
        case Effect(content_type=str() as content_type):
            return msgspec.structs.replace(draft, content_type=content_type)
        case _:
            return draft


def _status(draft: Draft, status: script.Status) -> Draft:
    headers = dict(status.headers)
    if status.retry_after is not None:
        headers["retry-after"] = str(math.ceil(status.retry_after))
    extra = {} if status.error_code is None else {"code": status.error_code}
    if draft.dialect is not Dialect.OPENAI:
        extra = {}  # Anthropic's errors have a type and no code
    body = drafting.ERRORS[draft.dialect](status.code, status.message, kind=status.type, **extra)
    return drafting.whole(draft.dialect, status.code, body if status.body is None else status.body.encode(), headers)


def _content(draft: Draft) -> list[int]:
    """Where the content events stand."""
    return [i for i, step in enumerate(draft.steps) if isinstance(step, Send) and step.part is Part.CONTENT]


def _first_content(draft: Draft) -> int:
    """Where the first content of a stream stands (or what follows the preamble), or a plain answer's head."""
    parts = (Part.CONTENT, Part.FINISH) if draft.chunked else (Part.HEAD,)
    places = (i for i, step in enumerate(draft.steps) if isinstance(step, Send) and step.part in parts)
    return next(places, len(draft.steps))


def _until(draft: Draft, at: At, chunks: int) -> list[Step]:
    """The steps before the place where a fault strikes."""
    if at is At.BEFORE_HEAD:
        return []
    steps = list(draft.steps)
    head = next(i for i, step in enumerate(steps) if isinstance(step, Send) and step.part is Part.HEAD)
    if at is At.AFTER_HEAD:
        return steps[: head + 1]
    if not draft.chunked:
        return [*steps[:-1], _half(steps[-1])]
    content = _content(draft)[:chunks]
    if content:
        return steps[: content[-1] + 1]
    preamble = [i for i, step in enumerate(steps) if isinstance(step, Send) and step.part is Part.PREAMBLE]
    return steps[: max([head, *preamble]) + 1]


def _half(step: Step) -> Send:
    assert isinstance(step, Send), "a plain answer ends with its body"
    return Send(step.part, step.data[: len(step.data) // 2], step.tokens)


def _insert(draft: Draft, place: int, step: Step) -> Draft:
    if not draft.chunked:
        place = _first_content(draft)  # a plain answer is late as a whole
    return draft.with_steps([*draft.steps[:place], step, *draft.steps[place:]])


def _cut(draft: Draft, cut: script.Cut) -> Draft:
    before = _until(draft, At.AFTER_CHUNKS, cut.chunks)
    if not draft.chunked:
        if cut.ending is Ending.CLOSED:
            return draft.with_steps([*before, Close()])
        return _with_body(draft, _body(draft)[: len(_body(draft)) // 2])
    if cut.ending is Ending.CLEAN:
        return draft.with_steps(before)
    later = [step for step in draft.steps[len(before) :] if isinstance(step, Send)]
    before += [Send(step.part, step.data[: len(step.data) // 2], 0) for step in later[:1]]
    return draft.with_steps(before if cut.ending is Ending.TRUNCATED else [*before, Close()])


def _malformed(draft: Draft, malformed: script.Malformed) -> Draft:
    if not draft.chunked:
        return _malformed_body(draft, malformed.kind)
    content = _content(draft)
    if not content:
        return draft
    place = content[min(malformed.chunk, len(content)) - 1]
    victim = draft.steps[place]
    assert isinstance(victim, Send), "content is sent"
    spoilt = _spoil(draft, victim.data, malformed.kind)
    if malformed.kind is Garbage.BAD_CHUNK_SIZE:
        return draft.with_steps([*draft.steps[:place], Send(Part.NOISE, b"zz\r\n" + spoilt + b"\r\n"), Close()])
    return draft.with_steps(
        [*draft.steps[:place], Send(Part.CONTENT, spoilt, victim.tokens), *draft.steps[place + 1 :]]
    )


def _malformed_body(draft: Draft, kind: Garbage) -> Draft:
    body = _spoil(draft, _body(draft), kind)
    if kind is Garbage.BAD_CHUNK_SIZE:
        noise = Send(Part.NOISE, b"zz\r\n" + body + b"\r\n")
        return msgspec.structs.replace(draft, length=None, steps=(*draft.steps[:-1], noise, Close()))
    return _with_body(draft, body)


def _spoil(draft: Draft, data: bytes, kind: Garbage) -> bytes:
    """Garbage in the place of an event or a body."""
    event = draft.chunked
    match kind:
        case Garbage.BAD_JSON:
            return data[: len(data) * 2 // 3].rstrip(b"}\n") + (b"\n\n" if event else b"")
        case Garbage.NOT_AN_OBJECT:
            return b"data: 42\n\n" if event else b"42"
        case Garbage.WRONG_SHAPE:
            wrong = drafting.GARBAGE[draft.dialect]()
            return wrong if event else wrong.partition(b"data: ")[2].strip()
        case Garbage.BAD_UTF8:
            middle = len(data) // 2
            return data[:middle] + b"\xff\xfe" + data[middle:]
        case Garbage.BAD_CHUNK_SIZE:
            return data


def _error_event(draft: Draft, event: script.ErrorEvent) -> Draft:
    if not draft.chunked:
        body = drafting.ERRORS[draft.dialect](500, event.message, kind=event.type)
        return _with_body(draft, body)
    at = At.AFTER_HEAD if event.chunks is None else At.AFTER_CHUNKS
    error = Send(Part.FINISH, drafting.ERROR_EVENTS[draft.dialect](event.message, event.type))
    return draft.with_steps([*_until(draft, at, event.chunks or 0), error])


def _body(draft: Draft) -> bytes:
    last = draft.steps[-1]
    assert isinstance(last, Send), "a plain answer ends with its body"
    return last.data


def _with_body(draft: Draft, body: bytes) -> Draft:
    steps = (*draft.steps[:-1], Send(Part.BODY, body))
    return msgspec.structs.replace(draft, length=len(body), steps=steps)
