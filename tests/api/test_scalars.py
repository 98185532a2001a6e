"""Money, prices and durations become integers exactly, or are refused."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_operator.api.types import Duration, Money, Price


@given(st.decimals(min_value=0, max_value=999_999_999, places=9, allow_nan=False, allow_infinity=False))
def test_money_is_exact_to_a_nano_dollar(amount: Decimal) -> None:
    assert Money.parse(f"{amount:f}").nano_usd() == Fraction(amount) * 10**9


@given(st.decimals(min_value=0, max_value=999_999, places=6, allow_nan=False, allow_infinity=False))
def test_a_price_is_exact_to_a_pico_dollar_a_token(price: Decimal) -> None:
    assert Price.parse(f"{price:f}").pico_per_token() == Fraction(price) / 10**6 * 10**12


@given(
    st.lists(
        st.tuples(st.integers(0, 99_999), st.sampled_from([("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)])),
        min_size=1,
        max_size=4,
    )
)
def test_a_duration_is_the_sum_of_its_parts(parts: list[tuple[int, tuple[str, int]]]) -> None:
    written = "".join(f"{count}{unit}" for count, (unit, _) in parts)

    assert Duration.parse(written).millis() == sum(count * millis for count, (_, millis) in parts)


@pytest.mark.parametrize("text", ["", "5", "5 seconds", "-5s", "PT5S", "1.5s", "5d", "123456s", "1s\n", "1h1m1s1ms1h"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write a duration"):
        Duration.parse(text)


@pytest.mark.parametrize("text", ["", "-1", "1e3", "0,02", "$1", ".5", "1.", "0.0000000001", "1234567890", "1\n", "١"])
def test_what_is_no_money_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="write US dollars"):
        Money.parse(text)
