"""Names of clusters follow their facts, and addresses are judged by how they are written."""

from __future__ import annotations

import msgspec
import pytest

from turnout_operator.clusters import Credential, Destination, SecretKey, cluster_name, named, not_public, parse_url

SECRET = SecretKey(namespace="llm", name="openai", key="apiKey")
HERE = Destination(
    pool="llm/openai",
    endpoint="eu",
    host="eu.api.openai.com",
    port=443,
    tls=True,
    sni="eu.api.openai.com",
    credential=Credential(secret=SECRET, header="authorization", prefix="Bearer "),
)
OTHER_KEY = Credential(
    secret=SecretKey(namespace="llm", name="openai", key="next"), header="authorization", prefix="Bearer "
)


def test_equal_facts_have_one_name_and_the_name_is_no_fact_of_itself() -> None:
    assert cluster_name(HERE) == cluster_name(named(HERE))


@pytest.mark.parametrize(
    "change", [{"host": "us.api.openai.com"}, {"port": 8443}, {"tls": False}, {"sni": ""}, {"credential": OTHER_KEY}]
)
def test_every_fact_that_envoy_is_told_changes_the_name(change: dict[str, object]) -> None:
    assert cluster_name(msgspec.structs.replace(HERE, **change)) != cluster_name(HERE)


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",  # noqa: S104 - refused, not bound
        "224.0.0.1", "[::1]", "[fe80::1]", "[fd00::1]", "[::ffff:10.0.0.1]", "[64:ff9b::a00:1]", "[2002:a00:1::]",
        "127.1", "0x7f000001", "2130706433", "0177.0.0.1", "localhost", "LOCALHOST.", "vllm", "vllm.llm.svc",
        "vllm.llm.svc.cluster.local", "metadata.google.internal", "printer.lan",
    ],
)  # fmt: skip
def test_private_addresses_are_seen_however_they_are_written(host: str) -> None:
    assert not_public(host) is not None


@pytest.mark.parametrize("host", ["api.openai.com", "8.8.8.8", "[2606:4700::1111]", "internal.example.com", "a.b.c"])
def test_public_addresses_are_public(host: str) -> None:
    assert not_public(host) is None


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("https://api.openai.com/v1", ("api.openai.com", 443, True, "/v1")),
        ("https://api.openai.com/", ("api.openai.com", 443, True, "")),
        ("http://h:8080/a/b/", ("h", 8080, False, "/a/b")),
        ("https://[2606:4700::1111]:444", ("2606:4700::1111", 444, True, "")),
    ],
)
def test_a_url_has_these_parts(url: str, parts: tuple[str, int, bool, str]) -> None:
    address = parse_url(url)

    assert (address.host, address.port, address.tls, address.base_path) == parts


@pytest.mark.parametrize(
    "url", ["ftp://h/", "https://user:pass@h/", "https:///v1", "https://h:99999/", "https://h/?k=v"]
)
def test_a_url_that_is_none_is_refused_without_repeating_a_password(url: str) -> None:
    with pytest.raises(ValueError) as refusal:
        parse_url(url)

    assert "pass@" not in str(refusal.value)


def test_the_authority_names_the_port_only_where_it_is_not_the_schemes_own() -> None:
    assert HERE.authority == "eu.api.openai.com"
    assert msgspec.structs.replace(HERE, port=8443).authority == "eu.api.openai.com:8443"
    assert msgspec.structs.replace(HERE, host="2606:4700::1111", port=444).authority == "[2606:4700::1111]:444"
