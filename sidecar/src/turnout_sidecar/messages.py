"""What the core and the dialects both speak: a conversation, an answer, a chunk, usage; and the seam between them.

No vendor's shape lives here. A `ClientDialect` speaks to clients, a `ProviderDialect` to providers, and a `Passage` is one
pair of them: the core only ever holds passages, so that it cannot know whose words travel. A client's request stays in the
dialect's own checked form (`ChatRequest.native`) until another dialect must say it: only then a `Conversation` is built.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from turnout_sidecar.policy.units import Tokens

Headers = tuple[tuple[bytes, bytes], ...]


class Role(StrEnum):
    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"
    TOOL = "tool"


class Finish(StrEnum):
    """Why an answer ended. Anything a provider says beyond these is passed on in its own word."""

    STOP = "stop"
    LENGTH = "length"
    TOOL_CALLS = "tool_calls"
    CONTENT_FILTER = "content_filter"


class ToolCall(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    name: str
    arguments: str
    """JSON text, as the model wrote it"""


class Message(msgspec.Struct, frozen=True, kw_only=True):
    role: Role
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    description: str = ""
    parameters: bytes = b"{}"
    """JSON schema"""


class ToolChoice(msgspec.Struct, frozen=True, kw_only=True):
    mode: str
    """auto | none | required | named"""
    name: str = ""
    parallel: bool = True


class Conversation(msgspec.Struct, frozen=True, kw_only=True):
    """A request in nobody's dialect. `only_here`: parameters that were set and have no neutral meaning, by name."""

    messages: tuple[Message, ...]
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    temperature: float | None = None
    top_p: float | None = None
    stop: tuple[str, ...] = ()
    user: str = ""
    answers: int = 1
    only_here: tuple[str, ...] = ()


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """Tokens as billed. The four input kinds do not overlap; reasoning lies inside `output`."""

    input: Tokens = Tokens(0)
    cached_input: Tokens = Tokens(0)
    cache_write_5m: Tokens = Tokens(0)
    cache_write_1h: Tokens = Tokens(0)
    output: Tokens = Tokens(0)
    reasoning: Tokens = Tokens(0)

    @property
    def all_input(self) -> Tokens:
        return Tokens(self.input + self.cached_input + self.cache_write_5m + self.cache_write_1h)

    def dearest(self, other: "Usage") -> "Usage":
        """Of two reports on one answer: counts are cumulative, so the larger is the truth and never the sum."""
        return Usage(**{field: max(getattr(self, field), getattr(other, field)) for field in Usage.__struct_fields__})


class Choice(msgspec.Struct, frozen=True, kw_only=True):
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    refusal: str = ""
    finish: str = Finish.STOP


class Completion(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer. `model` is the provider's own word for what served."""

    id: str
    model: str
    created: int = 0
    """Unix seconds; 0 where the provider does not say"""
    choices: tuple[Choice, ...]
    usage: Usage | None = None


class ProviderErrorKind(StrEnum):
    RATE_LIMITED = "rate_limited"
    OVERLOADED = "overloaded"
    SERVER = "server"
    REQUEST = "request"
    ACCESS = "access"


class ProviderError(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider said went wrong, cut down to words that cannot carry keys or account names."""

    kind: ProviderErrorKind
    type: str = ""
    code: str = ""
    param: str = ""


class ToolDelta(msgspec.Struct, frozen=True, kw_only=True):
    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a stream; what is empty did not happen. `usage` is cumulative, later ones replace earlier ones."""

    id: str = ""
    model: str = ""
    index: int = 0
    text: str = ""
    refusal: str = ""
    tool: ToolDelta | None = None
    finish: str = ""
    usage: Usage | None = None
    error: ProviderError | None = None
    done: bool = False


class ChatRequest(msgspec.Struct, kw_only=True, gc=False):
    """A client's request, checked and normalised. `size` is the UTF-8 length of `normal`, the request as it would be sent on."""

    model: str
    stream: bool
    wants_usage: bool
    """the client asked for a usage event at the end of a stream"""
    max_output: int | None
    """the lowest output cap that the client set, for one choice"""
    answers: int
    """how many choices are asked for; each may use the whole output cap"""
    messages: int
    tools: int
    normal: bytes
    native: object
    asked_at: int = 0
    """Unix seconds; for providers that do not date their answers"""


class RequestFault(StrEnum):
    """What is wrong with a client's request. Closed: each has a status and a type in `core.refusals`."""

    INVALID_JSON = "invalid_json"
    INVALID_VALUE = "invalid_value"
    MISSING_PARAMETER = "missing_required_parameter"
    UNKNOWN_PARAMETER = "unknown_parameter"
    UNSUPPORTED_PARAMETER = "unsupported_parameter"


class ClientError(Exception):
    """The client must change its request: what was found, where (`param`), and what would be right."""

    def __init__(self, fault: RequestFault, message: str, param: str = "") -> None:
        super().__init__(message)
        self.fault = fault
        self.message = message
        self.param = param


class Unsayable(Exception):  # noqa: N818 - not an error of anyone's: this provider's dialect has no word for it
    """The provider's dialect cannot express a parameter of the request; leaving it out would change the answer silently."""

    def __init__(self, param: str) -> None:
        super().__init__(param)
        self.param = param


class Malformed(Exception):  # noqa: N818 - a fact about an answer
    """An answer that is not in the provider's dialect."""


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """An error as a client sees it; `core.refusals` makes them. `retry_after` is milliseconds, None where no wait helps."""

    status: int
    code: str
    type: str
    message: str
    param: str = ""
    should_retry: bool = False
    retry_after: int | None = None


class Answered(msgspec.Struct, frozen=True, kw_only=True):
    """A plain answer, ready for the client. Exactly one of `body` and `error` is set."""

    body: bytes = b""
    model: str = ""
    usage: Usage | None = None
    error: ProviderError | None = None


class ListedModel(msgspec.Struct, frozen=True, kw_only=True):
    id: str
    owner: str


class ClientDialect(Protocol):
    name: str

    def decode_request(self, body: bytes) -> ChatRequest:
        """Raises `ClientError`."""
        ...

    def conversation(self, request: ChatRequest) -> Conversation: ...

    def encode_completion(self, completion: Completion, signal: bytes) -> bytes: ...

    def stream_encoder(self, wants_usage: bool, signal: bytes, created: int) -> "StreamEncoder": ...

    def encode_error(self, refusal: Refusal, signal: bytes) -> bytes: ...

    def encode_models(self, models: Sequence[ListedModel]) -> bytes: ...


class StreamEncoder(Protocol):
    def encode(self, chunk: Chunk) -> bytes:
        """The client's events for a chunk; empty where it says nothing to the client."""
        ...

    def close(self) -> bytes:
        """The end of a whole stream."""
        ...

    def error(self, refusal: Refusal, signal: bytes) -> bytes:
        """The event that ends a broken stream; no terminal event may follow it."""
        ...


class ProviderDialect(Protocol):
    name: str
    headers: Headers
    shows_all_output: bool
    """Every billed output token is visible in the stream, as this dialect asks for it: an aborted stream can be estimated."""

    def path(self, base: str) -> str: ...

    def overhead(self, messages: int, tools: int) -> Tokens:
        """Input tokens that the provider may add to what is written."""
        ...

    def encode_request(self, conversation: Conversation, model: str, max_output: Tokens, stream: bool) -> bytes:
        """Raises `Unsayable`."""
        ...

    def decode_answer(self, body: bytes) -> Completion | ProviderError:
        """Raises `Malformed`."""
        ...

    def stream_decoder(self) -> "StreamDecoder": ...

    def decode_error(self, status: int, body: bytes) -> ProviderError:
        """Never raises: what cannot be read has no words."""
        ...


class StreamDecoder(Protocol):
    def feed(self, data: bytes) -> Iterator[Chunk]:
        """The chunks that `data` completes; raises `Malformed` where the sound ones end."""
        ...


class Relay(Protocol):
    """One provider's stream on its way to one client: checks every event, forwards what is sound, remembers what it saw."""

    flowing: bool
    """neither an error, nor a malformed event, nor the end was seen"""
    content: bool
    """something that a reader can see has come: from here on no other provider can take over"""
    finished: bool
    """the answer is whole: a finish reason was seen"""
    done: bool
    """the provider's terminal event was seen"""
    error: ProviderError | None
    malformed: str
    """what was not in the dialect; empty while all is well. Nothing after it is forwarded."""
    usage: Usage | None
    model: str
    begun: bool
    """the provider said anything at all in its dialect, errors apart"""
    events: int
    """events that carried content: each is at least one token"""
    text_bytes: int
    """an upper bound of the bytes of content seen"""

    def feed(self, data: bytes) -> bytes:
        """What may go to the client now. After an error or a malformed event: what came before it, and nothing more."""
        ...

    def close(self) -> bytes:
        """What ends a whole stream, as far as the provider did not say it."""
        ...

    def error_event(self, refusal: Refusal, signal: bytes) -> bytes: ...


class Passage(Protocol):
    """From one client dialect to one provider dialect and back. `signal` is the JSON of the `turnout` field, or empty."""

    headers: Headers
    shows_all_output: bool

    def path(self, base: str) -> str: ...

    def overhead(self, request: ChatRequest) -> Tokens: ...

    def encode(self, request: ChatRequest, model: str, max_output: Tokens) -> bytes:
        """The provider's request. Raises `Unsayable`."""
        ...

    def answer(self, body: bytes, request: ChatRequest, signal: bytes) -> Answered:
        """A plain answer to a plain request. Raises `Malformed`."""
        ...

    def reframe(self, body: bytes, request: ChatRequest, signal: bytes) -> Answered:
        """A plain answer to a stream request, as a whole stream. Raises `Malformed`."""
        ...

    def relay(self, request: ChatRequest, signal: bytes) -> Relay: ...

    def decode_error(self, status: int, body: bytes) -> ProviderError: ...
