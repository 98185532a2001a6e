"""The demo changes the examples where it says so, and nowhere else."""

import pytest

from demo import manifests
from turnout_operator.api import validation

PORTS = {"openai": 1001, "anthropic": 1002, "vllm": 1003}


def test_each_pool_leads_to_the_port_of_its_own_provider() -> None:
    changed = manifests.with_ports(manifests.read(manifests.EXAMPLES), PORTS)
    urls = {p["metadata"]["name"]: p["spec"]["endpoints"][0]["url"] for p in manifests.of_kind(changed, "ProviderPool")}
    assert urls == {
        "openai": "http://127.0.0.1:1001/v1",
        "anthropic": "http://127.0.0.1:1002",
        "vllm": "http://127.0.0.1:1003/v1",
    }


def test_a_pool_without_a_provider_is_not_left_where_it_was() -> None:
    with pytest.raises(KeyError):
        manifests.with_ports(manifests.read(manifests.EXAMPLES), {"openai": 1001})


def test_what_is_read_is_not_changed() -> None:
    examples = manifests.read(manifests.EXAMPLES)
    manifests.for_one_minute(manifests.with_ports(examples, PORTS))
    assert examples == manifests.read(manifests.EXAMPLES)


def test_what_the_demo_applies_is_valid() -> None:
    import yaml

    changed = manifests.for_one_minute(manifests.with_ports(manifests.read(manifests.EXAMPLES), PORTS))
    assert validation.check({"demo.yaml": yaml.safe_dump_all(changed)}).faults == ()


def test_the_three_changes_are_named_for_people() -> None:
    assert len(manifests.CHANGES) == 3
    assert all(
        any(word in change for change in manifests.CHANGES)
        for word in (manifests.SMALL_DAY, manifests.SMALL_TENANT_DAY, "5 s")
    )


def test_every_provider_has_a_profile_with_the_prices_of_its_pool() -> None:
    from demo.stand_ins import PROFILES

    from turnout_operator.sim import amounts, profile

    for pool in manifests.of_kind(manifests.read(manifests.EXAMPLES), "ProviderPool"):
        known = {m.name: m for m in profile.load(PROFILES / f"{pool['metadata']['name']}.yaml").models}
        for model in pool["spec"]["models"]:
            prices = amounts.convert(
                {"input": model["pricing"]["input"], "output": model["pricing"]["output"]}, profile.Prices, "pool"
            )
            told = known[model["name"]].prices
            assert (told.input, told.output) == (prices.input, prices.output)
