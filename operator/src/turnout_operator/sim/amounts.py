"""The sim's scalar types as a person writes them: durations ("250ms"), prices ("0.25") and spreads of either.

Files are YAML or JSON, decoded by msgspec into frozen structs. Every error names the path of the field.
"""

import math
import random
import re
from fractions import Fraction
from typing import Any, Generic, TypeVar

import msgspec
import yaml

T = TypeVar("T")

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)")
_WHOLE = re.compile(rf"(?:{_PART.pattern})+")
_PRICE = re.compile(r"[0-9]{1,9}(?:\.[0-9]{1,12})?")
_Z99 = 2.326347874040841  # the standard normal's 99th percentile: two percentiles fix a lognormal


class InputError(ValueError):
    """A profile or a script that cannot be used. The message holds the place, what was found and what would be right."""


class Seconds(float):
    """A duration, never negative: written "1m30s", "250ms", or a plain number of seconds."""

    @classmethod
    def parse(cls, written: object) -> "Seconds":
        if isinstance(written, str) and _WHOLE.fullmatch(written):
            return cls(sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(written)))
        if isinstance(written, int | float) and not isinstance(written, bool) and 0 <= written < math.inf:
            return cls(written)
        raise ValueError(f"not a duration: {written!r}; write for example 250ms, 2s or 1m30s")


class Price(Fraction):
    """US dollars per million tokens, exact; written as a decimal string, as providers print prices."""

    @classmethod
    def parse(cls, written: object) -> "Price":
        if isinstance(written, str) and _PRICE.fullmatch(written):
            return cls(written)
        raise ValueError(f'not a price: {written!r}; write dollars per million tokens as a string, for example "0.25"')


class Range(msgspec.Struct, Generic[T], frozen=True, forbid_unknown_fields=True):
    min: T
    max: T


class Percentiles(msgspec.Struct, Generic[T], frozen=True, forbid_unknown_fields=True):
    p50: T
    p99: T


class Spread(msgspec.Struct, Generic[T], frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One of: `fixed`, `uniform` (min, max), `logNormal` (p50, p99)."""

    fixed: T | None = None
    uniform: Range[T] | None = None
    log_normal: Percentiles[T] | None = None

    def __post_init__(self) -> None:
        if sum(part is not None for part in (self.fixed, self.uniform, self.log_normal)) != 1:
            raise ValueError("write exactly one of fixed, uniform, logNormal")
        if self.uniform is not None and number(self.uniform.min) > number(self.uniform.max):
            raise ValueError("uniform: min is above max")
        if self.log_normal is not None and not 0 < number(self.log_normal.p50) <= number(self.log_normal.p99):
            raise ValueError("logNormal: write 0 < p50 <= p99")


def number(value: object) -> float:
    """The value of a spread's bound as a float: seconds or tokens."""
    assert isinstance(value, int | float), "spreads hold numbers"
    return float(value)


def draw(spread: Spread[Any], rng: random.Random) -> float:
    """One value from the spread. `fixed` draws nothing from `rng`."""
    if spread.fixed is not None:
        return number(spread.fixed)
    if spread.uniform is not None:
        return rng.uniform(number(spread.uniform.min), number(spread.uniform.max))
    assert spread.log_normal is not None, "a spread holds one of its three forms"
    middle = math.log(number(spread.log_normal.p50))
    return rng.lognormvariate(middle, (math.log(number(spread.log_normal.p99)) - middle) / _Z99)


def is_zero(spread: Spread[Any]) -> bool:
    """True where every draw is 0."""
    return spread.fixed is not None and number(spread.fixed) == 0


def decode(text: str | bytes, kind: type[T], what: str) -> T:
    """Reads YAML (so JSON too) into `kind`; raises InputError that starts with `what`."""
    try:
        return convert(yaml.safe_load(text), kind, what)
    except yaml.YAMLError as error:
        raise InputError(f"{what}: not YAML: {error}") from error


def convert(built: object, kind: type[T], what: str) -> T:
    """Turns plain dicts and lists into `kind`; raises InputError that starts with `what`."""
    try:
        return msgspec.convert(built, kind, dec_hook=_scalar)
    except msgspec.ValidationError as error:
        raise InputError(f"{what}: {error}") from error


def _scalar(kind: type[Any], written: object) -> object:
    if kind is Seconds:
        return Seconds.parse(written)
    if kind is Price:
        return Price.parse(written)
    raise NotImplementedError(f"no scalar {kind}")
