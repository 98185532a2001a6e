"""What the lease service needs of the world: a store with compare-and-swap, and somebody who says who is asking."""

from typing import NamedTuple, Protocol


class Identity(Protocol):
    """Who reports. `kube.tokens.Identity` in a cluster."""

    @property
    def key(self) -> str:
        """Names one pod, over all its processes."""
        ...

    @property
    def namespace(self) -> str:
        """Whose accounts it may lease; ``*`` for all of them, where one process serves every route."""
        ...


class Conflict(Exception):  # noqa: N818 - the store's word
    """The shard changed since it was loaded; nothing was written."""


class StoreUnavailable(Exception):  # noqa: N818 - a state of the store
    """No answer, or a refusal. After a `swap` it is unknown whether it was written."""


class Stored(NamedTuple):
    content: bytes
    version: str


class LedgerStore(Protocol):
    """Linearizable per shard. A shard is named by its prefix, lower-case hexadecimal digits."""

    async def load(self, prefix: str) -> Stored | None:
        """None where the shard was never written. Raises `StoreUnavailable`."""
        ...

    async def swap(self, prefix: str, content: bytes, expected: str | None) -> str:
        """Writes where the version is `expected` (None: where nothing is); the new version. Durable when it returns.

        Raises `Conflict`, `StoreUnavailable`.
        """
        ...

    async def prefixes(self) -> tuple[str, ...]:
        """Every shard that there is. Raises `StoreUnavailable`."""
        ...
