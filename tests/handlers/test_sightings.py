"""What sidecars last said: breakers and load, over all of them."""

from turnout_operator.api.providerpool_status import BreakerState
from turnout_operator.handlers.sightings import Sightings
from turnout_operator.identity import Identity
from turnout_operator.metrics import POOL_IN_FLIGHT
from turnout_sidecar.policy.report import WIRE, BreakerReport, EpochReport, InFlight, Report


def report(state: str, in_flight: int) -> Report:
    return Report(
        wire=WIRE,
        sequence=1,
        epoch=EpochReport(epoch="e", accounts=()),
        breakers=(BreakerReport(pool="llm/openai", model="m", state=state),),
        in_flight=(InFlight(pool="llm/openai", in_flight=in_flight),),
    )


def test_breakers_and_load_are_told_over_all_sidecars_and_news_only_when_a_breaker_moves() -> None:
    news: list[str] = []
    sightings = Sightings(news.append)
    a = Identity(namespace="support", service_account="default", pod_uid="a")
    b = Identity(namespace="support", service_account="default", pod_uid="b")
    sightings.report(a, report("Closed", 2))
    sightings.report(b, report("Open", 3))
    sightings.report(b, report("Open", 4))
    assert news == ["support", "support"]
    assert sightings.heard("support")
    assert not sightings.heard("elsewhere")
    assert set(sightings.breakers("llm/openai")) == {("m", BreakerState.CLOSED), ("m", BreakerState.OPEN)}
    assert sightings.open_in("support") == {("llm/openai", "m")}
    assert sightings.open_in("elsewhere") == frozenset()
    assert POOL_IN_FLIGHT.labels("llm", "openai")._value.get() == 6


def test_a_pool_has_a_metric_before_anything_was_asked_of_it() -> None:
    sightings = Sightings(lambda _: None)
    sightings.serve(["llm/quiet"])
    assert POOL_IN_FLIGHT.labels("llm", "quiet")._value.get() == 0
