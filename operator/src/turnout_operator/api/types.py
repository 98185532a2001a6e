"""The scalars of the API: each keeps the string that was written and converts it exactly, or refuses.

Money and prices are integers from here on: a limit in 10^-9 USD, a price in 10^-12 USD a token (of 4,553 public prices, 356 are no whole
nano-USD a token). Durations are the Gateway API's (GEP-2257): whole numbers of h, m, s, ms.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema


class _Written(str):
    """A string of one pattern, kept as it was written."""

    __slots__ = ()
    pattern: ClassVar[str]
    longest: ClassVar[int]
    expected: ClassVar[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """The value of `text`; raises ValueError with what would be right."""
        if len(text) > cls.longest or re.fullmatch(cls.pattern, text) is None:
            raise ValueError(f"found {text!r}, write {cls.expected}")
        return cls(text)

    @classmethod
    def _validated(cls, text: str) -> Self:
        try:
            return cls.parse(text)
        except ValueError as fault:
            raise PydanticCustomError("not_well_written", "{fault}", {"fault": str(fault)}) from fault

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(cls._validated, core_schema.str_schema(strict=True))

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: CoreSchema, _handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"type": "string", "maxLength": cls.longest, "pattern": cls.pattern}


_MILLIS = {"h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}


class Duration(_Written):
    """A span of time such as `400ms`, `1m30s` or `2160h`; never negative."""

    __slots__ = ()
    pattern = r"^([0-9]{1,5}(h|m|s|ms)){1,4}$"
    longest = 32
    expected = "a duration of whole h, m, s, ms such as 400ms, 15s or 1h30m"

    def millis(self) -> int:
        """The whole milliseconds of this span."""
        parts = re.findall(r"([0-9]+)(ms|h|m|s)", self)
        return sum(int(count) * _MILLIS[unit] for count, unit in parts)


def _scaled(text: str, digits: int) -> int:
    """`text` times 10^digits, exactly; the pattern of the type has already bounded the fraction."""
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(digits, "0"))


class Money(_Written):
    """US dollars as a decimal string, at most nine decimals (a nano-dollar)."""

    __slots__ = ()
    pattern = r"^[0-9]{1,9}(\.[0-9]{1,9})?$"
    longest = 19
    expected = 'US dollars as a decimal string such as "0.02" (at most nine decimals)'

    def nano_usd(self) -> int:
        """The exact amount in 10^-9 USD."""
        return _scaled(self, 9)


class Price(_Written):
    """US dollars per million tokens as providers print them, at most six decimals (a pico-dollar a token)."""

    __slots__ = ()
    pattern = r"^[0-9]{1,6}(\.[0-9]{1,6})?$"
    longest = 13
    expected = 'US dollars per million tokens as a decimal string such as "0.25" (at most six decimals)'

    def pico_per_token(self) -> int:
        """The exact price of one token in 10^-12 USD."""
        return _scaled(self, 6)


class Decimal(_Written):
    """A plain decimal such as a factor or a threshold, at most six decimals."""

    __slots__ = ()
    pattern = r"^[0-9]{1,5}(\.[0-9]{1,6})?$"
    longest = 12
    expected = 'a decimal string such as "1.5" (at most six decimals)'

    def micro(self) -> int:
        """The exact value in millionths."""
        return _scaled(self, 6)


Name = Annotated[str, Field(strict=True, min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
"""A DNS label: what Kubernetes calls most things."""
ObjectName = Annotated[
    str, Field(strict=True, min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
]
"""A DNS subdomain: names of ConfigMaps, Secrets, scale targets."""
Namespace = Name
DataKey = Annotated[str, Field(strict=True, min_length=1, max_length=253, pattern=r"^[-._a-zA-Z0-9]+$")]
"""A key inside a ConfigMap or Secret."""
ModelName = Annotated[str, Field(strict=True, min_length=1, max_length=128, pattern=r"^[-._:/@a-zA-Z0-9]+$")]
"""A model as clients and providers write it."""
HeaderName = Annotated[str, Field(strict=True, min_length=1, max_length=63, pattern=r"^[a-z0-9][-a-z0-9_]*$")]
"""A header in lower case, as HTTP/2 carries it."""
HeaderValue = Annotated[str, Field(strict=True, min_length=1, max_length=128)]
ClaimName = Annotated[str, Field(strict=True, min_length=1, max_length=128)]
Owner = Annotated[str, Field(strict=True, min_length=1, max_length=128)]
"""The person or team that answers for it."""
Text = Annotated[str, Field(strict=True, min_length=1, max_length=512)]
"""A sentence for people."""
Expression = Annotated[str, Field(strict=True, min_length=1, max_length=1024)]
"""A CEL expression over the facts of a request."""
Subject = Annotated[str, Field(strict=True, min_length=1, max_length=128)]
"""A tenant, user or run as its identity names it."""
Region = Annotated[str, Field(strict=True, min_length=1, max_length=63, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$")]
Zone = Annotated[
    str, Field(strict=True, min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+){0,2}$")
]
"""An IANA time zone such as Europe/Berlin; that it exists is the compiler's to say."""
CronSchedule = Annotated[str, Field(strict=True, min_length=1, max_length=128)]
"""Five cron fields, read in the time zone beside it."""
LocalTime = Annotated[
    str, Field(strict=True, max_length=19, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}(:[0-9]{2})?$")
]
"""A wall-clock time without an offset, read in the time zone beside it."""
Date = Annotated[str, Field(strict=True, max_length=10, pattern=r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$")]
Url = Annotated[str, Field(strict=True, max_length=512, pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]
"""An http or https address without user info, query or fragment."""
Time = Annotated[str, Field(json_schema_extra={"format": "date-time"})]
"""An RFC 3339 time in a status."""

TokenCount = Annotated[int, Field(strict=True, ge=1, le=10_000_000)]
TokenRate = Annotated[int, Field(strict=True, ge=0, le=10_000_000_000)]
Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]
Attempts = Annotated[int, Field(strict=True, ge=1, le=20)]
Few = Annotated[int, Field(strict=True, ge=0, le=10)]
Percent = Annotated[int, Field(strict=True, ge=0, le=100)]
Weight = Annotated[int, Field(strict=True, ge=1, le=1000)]
Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
ErrorStatus = Annotated[int, Field(strict=True, ge=400, le=599)]
