"""Between two different dialects: whatever the provider says becomes neutral and is said again to the client."""

import msgspec

from turnout_sidecar.dialects.reframing import reframed
from turnout_sidecar.messages import (
    Answered,
    ChatRequest,
    Chunk,
    ClientDialect,
    Headers,
    Malformed,
    ProviderDialect,
    ProviderError,
    Refusal,
    Usage,
)
from turnout_sidecar.policy.units import Tokens


class Translated:
    """`Passage`."""

    def __init__(self, client: ClientDialect, provider: ProviderDialect) -> None:
        self._client = client
        self._provider = provider
        self.headers: Headers = provider.headers
        self.shows_all_output = provider.shows_all_output

    def path(self, base: str) -> str:
        return self._provider.path(base)

    def overhead(self, request: ChatRequest) -> Tokens:
        return self._provider.overhead(request.messages, request.tools)

    def encode(self, request: ChatRequest, model: str, max_output: Tokens) -> bytes:
        conversation = self._client.conversation(request)
        return self._provider.encode_request(conversation, model, max_output, request.stream)

    def answer(self, body: bytes, request: ChatRequest, signal: bytes) -> Answered:
        answer = self._provider.decode_answer(body)
        if isinstance(answer, ProviderError):
            return Answered(error=answer)
        if not answer.created:
            answer = msgspec.structs.replace(answer, created=request.asked_at)
        encoded = self._client.encode_completion(answer, signal)
        return Answered(body=encoded, model=answer.model, usage=answer.usage)

    def reframe(self, body: bytes, request: ChatRequest, signal: bytes) -> Answered:
        answer = self._provider.decode_answer(body)
        if isinstance(answer, ProviderError):
            return Answered(error=answer)
        encoder = self._client.stream_encoder(request.wants_usage, signal, answer.created or request.asked_at)
        return Answered(body=reframed(answer, encoder), model=answer.model, usage=answer.usage)

    def relay(self, request: ChatRequest, signal: bytes) -> "TranslatedRelay":
        return TranslatedRelay(self._client, self._provider, request, signal)

    def decode_error(self, status: int, body: bytes) -> ProviderError:
        return self._provider.decode_error(status, body)


class TranslatedRelay:
    """`Relay` over neutral chunks."""

    __slots__ = (
        "_answers",
        "_closed",
        "_decoder",
        "_encoder",
        "_finishes",
        "begun",
        "content",
        "done",
        "error",
        "events",
        "finished",
        "flowing",
        "malformed",
        "model",
        "text_bytes",
        "usage",
    )

    def __init__(self, client: ClientDialect, provider: ProviderDialect, request: ChatRequest, signal: bytes) -> None:
        self.flowing = True
        self.content = False
        self.finished = False
        self.done = False
        self.error: ProviderError | None = None
        self.malformed = ""
        self.usage: Usage | None = None
        self.model = ""
        self.begun = False
        self.events = 0
        self.text_bytes = 0
        self._closed = False
        self._finishes = 0
        self._answers = request.answers
        self._decoder = provider.stream_decoder()
        self._encoder = client.stream_encoder(request.wants_usage, signal, request.asked_at)

    def feed(self, data: bytes) -> bytes:
        """See `Relay.feed`."""
        if not self.flowing:
            return b""
        out: list[bytes] = []
        try:
            for chunk in self._decoder.feed(data):
                if chunk.error is not None:
                    self.error = chunk.error
                    self.flowing = False
                    break
                self.begun = True
                self.model = chunk.model or self.model
                self.usage = chunk.usage or self.usage
                if chunk.text or chunk.refusal or chunk.tool is not None:
                    self.content = True
                    self.events += _says(chunk)
                    self.text_bytes += len(chunk.text.encode()) + len(chunk.refusal.encode())
                    self.text_bytes += len(chunk.tool.arguments.encode()) + 64 if chunk.tool is not None else 0
                if chunk.finish:
                    self._finishes += 1
                    self.finished = self._finishes >= self._answers
                out.append(self._encoder.encode(chunk))
                if chunk.done:
                    self.done = True
                    self.flowing = False
                    out.append(self.close())
                    break
        except Malformed as e:
            self.malformed = str(e)
            self.flowing = False
        return b"".join(out)

    def close(self) -> bytes:
        """See `Relay.close`."""
        if self._closed:
            return b""
        self._closed = True
        return self._encoder.close()

    def error_event(self, refusal: Refusal, signal: bytes) -> bytes:
        return self._encoder.error(refusal, signal)


def _says(chunk: Chunk) -> bool:
    """Whether this event is a token at least; some vendors open a tool's arguments with an empty piece."""
    tool = chunk.tool
    return bool(chunk.text or chunk.refusal or (tool is not None and (tool.name or tool.arguments)))
