"""Which request meets which rule, and what a wrong script or profile is told."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout_operator.sim import InputError, amounts
from turnout_operator.sim import profile as profiles
from turnout_operator.sim import script as scripts
from turnout_operator.sim.amounts import Percentiles, Price, Range, Seconds, Spread
from turnout_operator.sim.ask import Ask
from turnout_operator.sim.http1 import Request
from turnout_operator.sim.profile import Dialect, Profile
from turnout_operator.sim.rules import Rules
from turnout_operator.sim.script import Script

FAULT = [{"status": {"code": 500}}]


def rules(*built: dict[str, Any], seed: int = 0) -> Rules:
    full = [{"name": str(index), "effects": FAULT, **rule} for index, rule in enumerate(built)]
    return Rules(amounts.convert({"rules": full, "seed": seed}, Script, "script"), started=100.0)


def met(
    running: Rules,
    *,
    now: float = 100.0,
    headers: dict[bytes, bytes] | None = None,
    model: str = "m",
    stream: bool = False,
    tag: str = "",
    dialect: Dialect = Dialect.OPENAI,
) -> str | None:
    ask = Ask(dialect=dialect, model=model, text_bytes=1, begin=0, stream=stream, tag=tag)
    rule = running.meets(ask, Request("POST", "/", headers or {}, b"", keep_alive=True), now)
    return None if rule is None else rule.name


def test_each_condition_must_hold() -> None:
    running = rules(
        {
            "match": {
                "dialect": "OpenAI",
                "models": ["m", "n"],
                "stream": True,
                "headers": {"X-Case": "a"},
                "tag": "ada",
                "after": "1s",
                "until": "2s",
            }
        }
    )
    right: dict[str, Any] = {"stream": True, "headers": {b"x-case": b"a"}, "tag": "ada", "now": 101.0}
    assert met(running, **right) == "0"
    wrongs: list[dict[str, Any]] = [
        {"stream": False},
        {"headers": {}},
        {"tag": "bob"},
        {"now": 100.9},
        {"now": 102.0},
        {"model": "o"},
        {"dialect": Dialect.ANTHROPIC},
    ]
    for wrong in wrongs:
        assert met(running, **{**right, **wrong}) is None, wrong


def test_the_first_rule_that_matches_wins_and_later_ones_count_on() -> None:
    running = rules({"match": {"nth": {"first": 1, "last": 1}}}, {"match": {"nth": {"first": 3}}}, {})
    assert [met(running) for _ in range(4)] == ["0", "2", "1", "1"]


def test_nth_counts_only_requests_that_meet_the_other_conditions() -> None:
    running = rules({"match": {"models": ["m"], "nth": {"first": 2, "every": 2, "last": 4}}})
    assert [met(running, model=model) for model in "mnmmnmmm"] == [None, None, "0", None, None, "0", None, None]


@given(st.integers(0, 2**32), st.floats(0, 1))
def test_a_share_is_drawn_the_same_for_the_same_seed(seed: int, share: float) -> None:
    def draws() -> list[str | None]:
        running = rules({"match": {"share": share}}, seed=seed)
        return [met(running) for _ in range(20)]

    assert draws() == draws()
    if share in (0, 1):
        assert set(draws()) == {"0" if share else None}


def test_a_share_is_about_that_share() -> None:
    running = rules({"match": {"share": 0.25}}, seed=1)
    assert 450 < sum(met(running) is not None for _ in range(2000)) < 550


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ({"rules": [{"effects": []}]}, "a rule without effects does nothing"),
        ({"rules": [{"effects": [{}]}]}, "exactly one of status, jsonError"),
        ({"rules": [{"effects": [{"reset": {}, "hang": {}}]}]}, "exactly one of"),
        ({"rules": [{"effects": [{"reset": {}}, {"hang": {}}]}]}, "only one of a rule's effects can end"),
        ({"rules": [{"effects": [{"stall": {"chunks": 1, "for": "soon"}}]}]}, "not a duration: 'soon'; write"),
        ({"rules": [{"effects": [{"status": {"code": 42}}]}]}, "between 200 and 599"),
        ({"rules": [{"effects": [{"statos": {}}]}]}, "unknown field `statos`"),
        ({"rules": [{"effects": FAULT, "match": {"share": 2}}]}, "share is between 0 and 1"),
        ({"rules": [{"effects": FAULT, "match": {"nth": {"first": 0}}}]}, "first >= 1"),
        ({"rules": [{"effects": [{"slow": {"bytesPerSecond": 0}}]}]}, "at least 1"),
    ],
)
def test_a_wrong_script_is_told_where_and_what(script: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as refused:
        amounts.convert(script, Script, "faults.yaml")
    assert str(refused.value).startswith("faults.yaml: ")
    assert "$.rules[" in str(refused.value)


MODEL = {"name": "m", "prices": {"input": "1", "output": "2"}}


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        ({"models": []}, "at least one"),
        ({"models": [MODEL, MODEL]}, "every name once"),
        ({"models": [{**MODEL, "prices": {"input": 1, "output": "2"}}]}, "not a price: 1; write dollars"),
        ({"models": [{**MODEL, "prices": {"input": "1e3", "output": "2"}}]}, "not a price: '1e3'"),
        ({"models": [{**MODEL, "outputTokens": {}}]}, "exactly one of fixed, uniform, logNormal"),
        ({"models": [{**MODEL, "outputTokens": {"uniform": {"min": 5, "max": 1}}}]}, "min is above max"),
        ({"models": [{**MODEL, "latency": {"firstToken": {"logNormal": {"p50": "2s", "p99": "1s"}}}}]}, "p50 <= p99"),
        ({"models": [{**MODEL, "rateLimits": {"requestsPerMinute": -1}}]}, "0 \\(none\\) or more"),
    ],
)
def test_a_wrong_profile_is_told_where_and_what(profile: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        amounts.convert(profile, Profile, "profile.yaml")


def test_files_are_read_as_yaml_and_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text("rules: [{effects: [{lateFirstToken: 1m30s}]}]\noutages: [{after: 5s, for: 250ms}]\n")
    script = scripts.load(path)
    assert script.rules[0].effects[0].late_first_token == Seconds(90)
    assert (script.outages[0].after, script.outages[0].duration) == (Seconds(5), Seconds(0.25))
    path.write_text("rules: [")
    with pytest.raises(InputError, match=r"s\.yaml: not YAML"):
        scripts.load(path)


def test_the_default_profile_has_the_list_prices() -> None:
    model = profiles.default().model("gpt-5-mini", Dialect.OPENAI)
    assert model is not None
    prices = model.prices
    right = (Price("0.25"), Price("2.00"), Price("0.025"), Price("0.25"))
    assert (prices.input, prices.output, prices.cached_input, prices.cache_write) == right


@pytest.mark.parametrize(
    ("written", "seconds"), [("250ms", 0.25), ("1m30s", 90), ("1.5h", 5400), (2, 2), (0.5, 0.5), ("0s", 0)]
)
def test_durations_are_read_as_people_write_them(written: object, seconds: float) -> None:
    assert Seconds.parse(written) == pytest.approx(seconds)


@pytest.mark.parametrize("written", ["", "5", "5 s", "-1s", "1d", -1, True, None, float("inf"), float("nan")])
def test_what_is_no_duration_is_refused(written: object) -> None:
    with pytest.raises(ValueError, match="not a duration"):
        Seconds.parse(written)


def test_a_lognormal_spread_has_its_percentiles() -> None:
    spread = Spread(log_normal=Percentiles(p50=Seconds(0.3), p99=Seconds(2.0)))
    rng = random.Random(4)
    drawn = sorted(amounts.draw(spread, rng) for _ in range(20_000))
    assert drawn[10_000] == pytest.approx(0.3, rel=0.05)
    assert drawn[19_800] == pytest.approx(2.0, rel=0.1)


@given(st.integers(0, 1000), st.integers(0, 1000), st.integers())
def test_a_uniform_spread_stays_in_its_range(a: int, b: int, seed: int) -> None:
    low, high = sorted((a, b))
    drawn = amounts.draw(Spread(uniform=Range(min=low, max=high)), random.Random(seed))
    assert low <= drawn <= high
