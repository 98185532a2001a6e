"""A store in memory, linearizable, for laws and simulations: everything of a ledger but its surviving the process."""

from turnout_operator.quota.ports import Conflict, Stored


class MemoryStore:
    """Versions count up over all shards, as an apiserver's do."""

    def __init__(self) -> None:
        self._shards: dict[str, Stored] = {}
        self._revision = 0

    async def load(self, prefix: str) -> Stored | None:
        return self._shards.get(prefix)

    async def swap(self, prefix: str, content: bytes, expected: str | None) -> str:
        known = self._shards.get(prefix)
        if (known.version if known is not None else None) != expected:
            raise Conflict(f"shard {prefix} is not at version {expected}")
        self._revision += 1
        self._shards[prefix] = Stored(content, str(self._revision))
        return str(self._revision)

    async def prefixes(self) -> tuple[str, ...]:
        return tuple(sorted(self._shards))
