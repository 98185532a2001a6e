"""The cache of watched objects: newest version wins, status changes are no news."""

from collections.abc import Iterator
from typing import Any

import pytest

from turnout_operator.handlers.cache import Cache
from turnout_operator.kube.resources import LLM_ROUTES


def route(version: int, *, uid: str = "u1", **fields: Any) -> dict[str, Any]:
    metadata = {
        "namespace": "support",
        "name": "answer",
        "uid": uid,
        "resourceVersion": str(version),
        "managedFields": [1],
    }
    return {"metadata": metadata, "spec": {"owner": "a"}, **fields}


def test_an_older_version_that_arrives_late_is_ignored() -> None:
    cache = Cache()
    assert cache.put(LLM_ROUTES, route(5, spec={"owner": "new"}))
    assert not cache.put(LLM_ROUTES, route(4))
    kept = cache.get(LLM_ROUTES, "support", "answer")
    assert kept is not None
    assert kept["spec"] == {"owner": "new"}


def test_a_recreated_object_replaces_the_old_one_whatever_its_version() -> None:
    cache = Cache()
    cache.put(LLM_ROUTES, route(5))
    assert cache.put(LLM_ROUTES, route(4, uid="u2"))


def test_a_change_of_status_alone_is_kept_but_is_no_news() -> None:
    cache = Cache()
    cache.put(LLM_ROUTES, route(1))
    assert not cache.put(LLM_ROUTES, route(2, status={"observedGeneration": 1}))
    kept = cache.get(LLM_ROUTES, "support", "answer")
    assert kept is not None
    assert kept["status"] == {"observedGeneration": 1}
    assert "managedFields" not in kept["metadata"]


def test_a_resync_drops_what_is_gone_and_says_whether_it_found_news() -> None:
    cache = Cache()
    cache.put(LLM_ROUTES, route(1))
    assert not cache.reset(LLM_ROUTES, [route(1)])
    assert cache.reset(LLM_ROUTES, [])
    assert cache.all(LLM_ROUTES) == ()


def test_an_edit_that_comes_back_with_our_own_write_is_left_for_the_watch_to_tell() -> None:
    cache = Cache()
    cache.put(LLM_ROUTES, route(1))
    cache.wrote(LLM_ROUTES, route(3, spec={"owner": "edited"}, status={"observedGeneration": 1}))
    assert cache.put(LLM_ROUTES, route(2, spec={"owner": "edited"}))
    cache.wrote(LLM_ROUTES, route(3, spec={"owner": "edited"}, status={"observedGeneration": 1}))
    kept = cache.get(LLM_ROUTES, "support", "answer")
    assert kept is not None
    assert kept["status"] == {"observedGeneration": 1}
    assert not cache.put(LLM_ROUTES, route(3, spec={"owner": "edited"}, status={"observedGeneration": 1}))


def test_what_a_watch_tells_while_a_listing_runs_is_not_undone_by_it() -> None:
    cache = Cache()
    cache.put(LLM_ROUTES, route(1, uid="gone"))

    def listing() -> Iterator[dict[str, Any]]:
        yield route(1, uid="gone")  # listed, and deleted before the listing is over
        assert cache.drop(LLM_ROUTES, "support", "answer")
        born = route(9, uid="born")  # created after its page was read
        born["metadata"]["name"] = "born"
        assert cache.put(LLM_ROUTES, born)

    assert not cache.reset(LLM_ROUTES, listing())
    assert [r["metadata"]["name"] for r in cache.all(LLM_ROUTES)] == ["born"]


def test_a_listing_that_fails_changes_nothing_and_leaves_nothing_behind() -> None:
    cache = Cache()
    cache.put(LLM_ROUTES, route(1))

    def broken() -> Iterator[dict[str, Any]]:
        yield route(2)
        raise ConnectionError

    with pytest.raises(ConnectionError):
        cache.reset(LLM_ROUTES, broken())
    assert len(cache.all(LLM_ROUTES)) == 1
    assert cache.reset(LLM_ROUTES, [])
