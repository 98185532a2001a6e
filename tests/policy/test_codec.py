"""The policy document: byte-stable, versioned by content, refused route by route."""

import json

import pytest

from turnout_sidecar.policy import codec


def test_an_empty_policy_round_trips_with_its_content_hash_as_version() -> None:
    document = codec.encode((), ())
    assert codec.decode(document).version == codec.decode(codec.encode((), ())).version
    assert codec.encode((), ()) == document


def test_a_schema_that_this_sidecar_does_not_read_is_refused_with_its_number() -> None:
    with pytest.raises(codec.PolicyRefused, match="schema 999"):
        codec.decode(b'{"schema": 999, "version": "", "routes": [], "pools": []}')


def test_garbage_is_refused_as_a_whole() -> None:
    with pytest.raises(codec.PolicyRefused, match="unreadable"):
        codec.decode(b"not json")


def test_a_bad_route_is_refused_alone_and_named_with_its_generation() -> None:
    document = json.loads(codec.encode((), ()))
    document["routes"] = [{"key": "support/answer", "origin": {"generation": 7}}]
    decoded = codec.decode(json.dumps(document).encode())
    assert decoded.routes == ()
    assert [(r.route, r.generation) for r in decoded.refused] == [("support/answer", 7)]
    assert decoded.refused[0].reason
