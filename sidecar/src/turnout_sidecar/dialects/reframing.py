"""A whole answer as a stream: clients that asked for a stream take a JSON body for an empty one, without an error."""

from turnout_sidecar.messages import Chunk, Completion, StreamEncoder, ToolDelta


def reframed(completion: Completion, encoder: StreamEncoder) -> bytes:
    """The whole stream, ended."""
    name = Chunk(id=completion.id, model=completion.model, usage=completion.usage)
    events = [encoder.encode(name)]
    for index, choice in enumerate(completion.choices):
        events.append(encoder.encode(Chunk(index=index, text=choice.text, refusal=choice.refusal)))
        for at, call in enumerate(choice.tool_calls):
            tool = ToolDelta(index=at, id=call.id, name=call.name, arguments=call.arguments)
            events.append(encoder.encode(Chunk(index=index, tool=tool)))
        events.append(encoder.encode(Chunk(index=index, finish=choice.finish)))
    return b"".join(events) + encoder.close()
