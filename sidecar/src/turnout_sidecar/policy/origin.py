"""Where a rule came from: it labels metrics, explains refusals and fills conditions."""

import msgspec


class Origin(msgspec.Struct, frozen=True, kw_only=True):
    """The object and the field that a person wrote. `field` is a path such as ``spec.budget.limits[1]``, or empty."""

    kind: str
    namespace: str
    name: str
    generation: int = 0
    field: str = ""

    def __str__(self) -> str:
        where = f"{self.kind} {self.namespace}/{self.name}"
        return f"{where} {self.field}" if self.field else where
