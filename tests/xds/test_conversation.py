"""The discovery stream's rules, without gRPC: a sidecar that takes what it is sent, a clock that the test moves."""

from collections.abc import Callable

from turnout_operator.identity import Identity
from turnout_operator.xds.conversation import KEY_PATIENCE, Conversation, Push, Request
from turnout_operator.xds.kind import Kind
from turnout_operator.xds.node import NodeRecord
from turnout_operator.xds.view import View
from turnout_sidecar.policy.units import Millis
from turnout_testing.discovery import made_view

ENGINE = frozenset({"turnout-engine"})


class Sidecar:
    """Subscribes as Envoy does and answers at once, unless told to refuse a kind."""

    def __init__(self, record: NodeRecord | None = None, has: dict[Kind, str] | None = None) -> None:
        self.record = record or NodeRecord(identity=Identity(namespace="a", service_account="s"), node="n")
        self.talk = Conversation(self.record)
        self.now = Millis(1_000)
        self.refuse: dict[Kind, str] = {}
        self.keys: frozenset[str] = frozenset()
        self.log: list[Push] = []
        self.has = has or {}
        self.subscribe(Kind.CLUSTER)
        self.subscribe(Kind.LISTENER)
        self.subscribe(Kind.EXTENSION, ENGINE)

    def subscribe(self, kind: Kind, names: frozenset[str] = frozenset()) -> None:
        self.talk.request(Request(kind=kind, names=names, version=self.has.get(kind, "")), self.now, 0)

    def answer(self, push: Push, words: str | None = None) -> None:
        names = {Kind.EXTENSION: ENGINE, Kind.SECRET: self.keys}.get(push.kind, frozenset())
        request = Request(kind=push.kind, names=names, version=push.version, nonce=push.nonce, error=words)
        self.talk.request(request, self.now, 77)

    def settle(self, view: View, answering: Callable[[Push], bool] = lambda _: True) -> list[Push]:
        """Answers until nothing more is due; what was sent in this time."""
        sent: list[Push] = []
        while pushes := self.talk.due(view, self.now):
            for push in pushes:
                sent.append(push)
                if answering(push):
                    self.answer(push, self.refuse.get(push.kind))
        self.log += sent
        return sent

    def clusters(self) -> set[str]:
        """What CDS said last."""
        last = [p for p in self.log if p.kind is Kind.CLUSTER][-1]
        return {item.name for item in last.items}


def kinds(pushes: list[Push]) -> list[Kind]:
    return [p.kind for p in pushes]


def test_a_policy_comes_after_its_clusters_were_taken() -> None:
    sidecar = Sidecar()
    first = sidecar.talk.due(made_view("p1", ["c1"]), sidecar.now)
    assert kinds(first) == [Kind.CLUSTER]
    sidecar.answer(first[0])
    assert kinds(sidecar.settle(made_view("p1", ["c1"]))) == [Kind.LISTENER, Kind.EXTENSION]
    assert sidecar.record.state().programmed == "p1"


def test_an_unchanged_view_is_not_sent_again() -> None:
    sidecar = Sidecar()
    sidecar.settle(made_view("p1", ["c1"]))
    assert sidecar.settle(made_view("p1", ["c1"])) == []


def test_a_reconnecting_sidecar_that_has_everything_is_sent_nothing_and_counts_as_programmed() -> None:
    before = Sidecar()
    before.settle(made_view("p1", ["c1"]))
    has = {push.kind: push.version for push in before.log}
    after = Sidecar(NodeRecord(identity=before.record.identity, node="n"), has)
    assert after.settle(made_view("p1", ["c1"])) == []
    assert after.record.state().programmed == "p1"


def test_a_replaced_cluster_stays_until_the_longest_stream_on_it_must_have_ended() -> None:
    sidecar = Sidecar()
    sidecar.settle(made_view("p1", ["c1"], longest=10_000))
    assert kinds(sidecar.settle(made_view("p2", ["c2"], longest=50))) == [Kind.CLUSTER, Kind.EXTENSION]
    assert sidecar.clusters() == {"c1", "c2"}
    sidecar.now = Millis(sidecar.now + 9_999)
    assert sidecar.settle(made_view("p2", ["c2"], longest=50)) == []
    assert sidecar.talk.wake() == sidecar.now + 1
    sidecar.now = Millis(sidecar.now + 1)
    assert kinds(sidecar.settle(made_view("p2", ["c2"], longest=50))) == [Kind.CLUSTER]
    assert sidecar.clusters() == {"c2"}
    assert sidecar.talk.wake() is None


def test_the_clusters_of_a_policy_stay_while_the_sidecar_refuses_the_next_one() -> None:
    sidecar = Sidecar()
    sidecar.settle(made_view("p1", ["c1"]))
    sidecar.refuse[Kind.EXTENSION] = "Failed to initialize dynamic module"
    sidecar.settle(made_view("p2", ["c2"]))
    sidecar.now = Millis(sidecar.now + 1_000_000)
    sidecar.settle(made_view("p2", ["c2"]))
    assert sidecar.clusters() == {"c1", "c2"}
    state = sidecar.record.state()
    assert state.programmed == "p1"
    refusal = state.kinds[Kind.EXTENSION].refusal
    assert refusal is not None
    assert (refusal.words, refusal.at) == ("Failed to initialize dynamic module", 77)
    assert state.kinds[Kind.EXTENSION].acked != state.kinds[Kind.EXTENSION].sent


def test_a_refused_response_is_not_repeated_but_its_repair_is_sent() -> None:
    sidecar = Sidecar()
    sidecar.settle(made_view("p1"))
    sidecar.refuse[Kind.EXTENSION] = "no"
    assert kinds(sidecar.settle(made_view("p2"))) == [Kind.EXTENSION]
    assert sidecar.settle(made_view("p2")) == []
    del sidecar.refuse[Kind.EXTENSION]
    assert kinds(sidecar.settle(made_view("p3"))) == [Kind.EXTENSION]
    state = sidecar.record.state()
    assert state.programmed == "p3"
    assert state.complaints == ()


def test_going_back_to_the_policy_that_runs_undoes_a_refused_one() -> None:
    sidecar = Sidecar()
    sidecar.settle(made_view("p1"))
    sidecar.refuse[Kind.EXTENSION] = "no"
    sidecar.settle(made_view("p2"))
    del sidecar.refuse[Kind.EXTENSION]
    assert kinds(sidecar.settle(made_view("p1"))) == [Kind.EXTENSION]
    assert sidecar.record.state().programmed == "p1"


def test_a_policy_waits_for_clusters_that_were_refused_when_one_runs_already() -> None:
    sidecar = Sidecar()
    sidecar.settle(made_view("p1", ["c1"]))
    sidecar.refuse[Kind.CLUSTER] = "bad cluster"
    assert kinds(sidecar.settle(made_view("p2", ["c1", "bad"]))) == [Kind.CLUSTER]
    assert sidecar.record.state().programmed == "p1"


def test_a_sidecar_without_any_policy_gets_one_in_spite_of_a_refused_cluster() -> None:
    sidecar = Sidecar()
    sidecar.refuse[Kind.CLUSTER] = "bad cluster"
    assert Kind.EXTENSION in kinds(sidecar.settle(made_view("p1", ["bad"])))
    state = sidecar.record.state()
    assert state.programmed == ""
    assert any("bad cluster" in words for words in state.complaints)


def test_a_policy_waits_for_the_keys_of_its_clusters() -> None:
    sidecar = Sidecar()
    view = made_view("p1", ["c1"], {"k": "1"})
    assert Kind.EXTENSION not in kinds(sidecar.settle(view))
    sidecar.keys = frozenset({"k"})
    sidecar.subscribe(Kind.SECRET, sidecar.keys)
    assert kinds(sidecar.settle(view)) == [Kind.SECRET, Kind.EXTENSION]


def test_a_key_that_is_never_asked_for_delays_a_policy_only_so_long() -> None:
    sidecar = Sidecar()
    view = made_view("p1", ["c1"], {"k": "1"})
    sidecar.settle(view)
    assert sidecar.talk.wake() == sidecar.now + KEY_PATIENCE
    sidecar.now = Millis(sidecar.now + KEY_PATIENCE)
    assert kinds(sidecar.settle(view)) == [Kind.EXTENSION]


def test_a_rotated_key_is_a_push_of_keys_and_of_nothing_else() -> None:
    sidecar = Sidecar()
    sidecar.keys = frozenset({"k"})
    sidecar.subscribe(Kind.SECRET, sidecar.keys)
    sidecar.settle(made_view("p1", ["c1"], {"k": "1"}))
    assert kinds(sidecar.settle(made_view("p1", ["c1"], {"k": "2"}))) == [Kind.SECRET]


def test_a_key_that_is_asked_for_anew_is_sent_anew() -> None:
    sidecar = Sidecar()
    view = made_view("p1", ["c1"], {"k": "1"})
    sidecar.keys = frozenset({"k"})
    sidecar.subscribe(Kind.SECRET, sidecar.keys)
    sidecar.settle(view)
    last = [p for p in sidecar.log if p.kind is Kind.SECRET][-1]
    for names in (frozenset[str](), frozenset({"k"})):
        request = Request(kind=Kind.SECRET, names=names, version=last.version, nonce=last.nonce)
        sidecar.talk.request(request, sidecar.now, 0)
    assert kinds(sidecar.settle(view)) == [Kind.SECRET]


def test_a_cluster_that_lost_its_key_goes_although_the_policy_stays() -> None:
    sidecar = Sidecar()
    sidecar.settle(made_view("p1", ["c1", "c2"], longest=500))
    sidecar.settle(made_view("p1", ["c1"], longest=500))
    sidecar.now = Millis(sidecar.now + 500)
    sidecar.settle(made_view("p1", ["c1"], longest=500))
    assert sidecar.clusters() == {"c1"}


def test_a_policy_that_was_sent_to_a_stream_that_broke_keeps_its_clusters_over_the_reconnect() -> None:
    before = Sidecar()
    before.settle(made_view("p1", ["c1"]))
    before.settle(made_view("p2", ["c2"]), answering=lambda push: push.kind is not Kind.EXTENSION)
    after = Sidecar(before.record, {Kind.CLUSTER: "?", Kind.LISTENER: "?", Kind.EXTENSION: "?"})
    after.settle(made_view("p3", ["c3"]))
    assert after.clusters() == {"c1", "c2", "c3"}


def test_an_answer_to_an_outdated_response_changes_nothing() -> None:
    sidecar = Sidecar()
    push = sidecar.talk.due(made_view("p1"), sidecar.now)[0]
    stale = Request(kind=push.kind, names=frozenset(), version=push.version, nonce="another")
    assert sidecar.talk.request(stale, sidecar.now, 0) is None
    assert sidecar.record.state().kinds[push.kind].acked == ""


def test_a_cluster_that_cannot_serve_by_the_sidecars_own_words_is_not_programmed() -> None:
    sidecar = Sidecar()
    sidecar.settle(made_view("p1", ["c1"]))
    sidecar.record.words = type(sidecar.record.words)(clusters_failing=("c1",))
    state = sidecar.record.state()
    assert state.programmed == ""
    assert state.complaints == ("cluster c1 cannot serve",)
