"""Which dialect each client API and each pool speaks, and the passage between them. A new dialect is entered here."""

from turnout_sidecar.dialects.alike import Alike
from turnout_sidecar.dialects.anthropic import Anthropic
from turnout_sidecar.dialects.openai_chat import OpenAIChat
from turnout_sidecar.dialects.openai_passage import SameOpenAI
from turnout_sidecar.dialects.passage import Translated
from turnout_sidecar.messages import ClientDialect, Passage, ProviderDialect
from turnout_sidecar.policy.model import Dialect

_OPENAI = OpenAIChat()

OPENAI_CLIENTS: ClientDialect = _OPENAI

PROVIDERS: dict[Dialect, ProviderDialect] = {
    Dialect.OPENAI: _OPENAI,
    Dialect.ANTHROPIC: Anthropic(),
}


def passage(client: ClientDialect, provider: Dialect, alike: Alike | None = None) -> Passage:
    """Bytes travel where both ends speak alike; anything else is translated. `alike` makes the checks of streams cheaper."""
    if client is _OPENAI and provider is Dialect.OPENAI:
        return SameOpenAI(_OPENAI, alike)
    return Translated(client, PROVIDERS[provider])


def passages(client: ClientDialect, alike: Alike | None = None) -> dict[Dialect, Passage]:
    return {provider: passage(client, provider, alike) for provider in PROVIDERS}
