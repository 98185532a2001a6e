"""The provider dies and comes back; script, bill and log can be read and replaced while it runs."""

import errno
import socket
import ssl

import httpx
import pytest
import trustme

from turnout_operator.sim import Outcome, Sim
from turnout_testing.rawwire import End, RawClient, request

ASK = request(
    "/v1/chat/completions",
    {"model": "gpt-5-mini", "stream": True, "messages": [{"role": "user", "content": "[sim:output=3]"}]},
)
HANG = {"rules": [{"effects": [{"hang": {"at": "AfterChunks", "chunks": 1}}]}]}


def test_a_provider_that_is_down_refuses_connections_resets_open_ones_and_returns_on_its_port(sim: Sim) -> None:
    port = sim.port
    sim.set_script(HANG)
    with RawClient(sim.host, port) as busy, RawClient(sim.host, port) as idle:
        busy.send(ASK)
        busy.read_until(b'"delta":{"content":')
        idle.send(b"GET /v1/mod")
        sim.wait_for(lambda server: server.state().connections == 2)
        sim.down()
        assert busy.read_to_end()[1] is End.RESET
        assert idle.read_to_end()[1] is End.RESET
    with pytest.raises(ConnectionRefusedError):
        RawClient(sim.host, port)
    assert (sim.log()[0].outcome, sim.log()[0].output_tokens) == (Outcome.BROKEN, 1)
    sim.set_script(None)
    sim.up()
    assert sim.port == port
    with RawClient(sim.host, port) as client:
        client.send(ASK)
        client.read_until(b"[DONE]")


def test_nobody_else_is_given_the_port_of_a_provider_that_is_down(sim: Sim) -> None:
    sim.down()
    with socket.socket() as other:
        with pytest.raises(OSError) as taken:
            other.bind((sim.host, sim.port))
        assert taken.value.errno == errno.EADDRINUSE


def test_down_for_a_time_ends_by_itself(sim: Sim) -> None:
    sim.down(0.01)
    sim.wait_for(lambda server: server.state().up)
    with RawClient(sim.host, sim.port) as client:
        client.send(ASK)
        client.read_until(b"[DONE]")


def test_an_outage_of_the_script_begins_and_ends(sim: Sim) -> None:
    sim.set_script({"outages": [{"after": "10ms", "for": "10ms"}]})
    sim.wait_for(lambda server: not server.state().up)
    sim.wait_for(lambda server: server.state().up)


def test_an_outage_under_way_ends_although_the_script_is_replaced(sim: Sim) -> None:
    sim.set_script({"outages": [{"after": 0, "for": "50ms"}]})
    sim.wait_for(lambda server: not server.state().up)
    sim.set_script(None)
    sim.wait_for(lambda server: server.state().up)


def test_everything_can_be_done_over_http(sim: Sim) -> None:
    with httpx.Client(base_url=sim.admin_url) as admin, httpx.Client(base_url=sim.openai_url) as client:
        body = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "[sim:output=3]"}]}
        script = "rules: [{name: ill, match: {nth: {last: 1}}, effects: [{stall: {chunks: 1, for: 1ms}}]}]"
        assert admin.put("/sim/script", content=script).json() == {"ok": True}
        shown = admin.get("/sim/script").json()
        assert shown["rules"][0]["effects"] == [{"stall": {"chunks": 1, "for": 0.001}}]
        assert admin.put("/sim/script", json=shown).status_code == 200
        assert (
            client.post("/chat/completions", json=body, headers={"authorization": "Bearer s3cret"}).status_code == 200
        )
        entry = admin.get("/sim/log").json()[0]
        assert (entry["fault"], entry["outputTokens"], entry["headers"]["authorization"]) == ("ill", 3, "(redacted)")
        assert admin.get("/sim/bill").json()["costNanoUSD"] == 4 * 250 + 3 * 2000
        assert admin.delete("/sim/bill").status_code == 200
        assert admin.get("/sim/bill").json()["requests"] == 0
        assert admin.delete("/sim/log").status_code == 200
        assert admin.get("/sim/log").json() == []
        assert admin.delete("/sim/script").status_code == 200
        assert admin.get("/sim/script").json()["rules"] == []
        assert admin.post("/sim/down").json() == {"ok": True}
        assert admin.get("/sim/state").json()["up"] is False
        with pytest.raises(httpx.ConnectError):
            client.get("/models")
        assert admin.post("/sim/up").json() == {"ok": True}
        assert client.get("/models").status_code == 200
        assert admin.post("/sim/down?for=1ms").status_code == 200
        sim.wait_for(lambda server: server.state().up)


def test_wrong_admin_requests_are_told_what_is_right(sim: Sim) -> None:
    with httpx.Client(base_url=sim.admin_url) as admin:
        refused = admin.put("/sim/script", content="rules: [{effects: [{stall: {chunks: x}}]}]")
        assert (refused.status_code, "$.rules[0].effects[0].stall" in refused.json()["error"]) == (400, True)
        assert admin.get("/sim/script").json()["rules"] == []
        assert admin.post("/sim/down?for=soon").status_code == 400
        assert admin.get("/sim/state").json()["up"] is True
        assert "GET /sim/bill" in admin.get("/").json()["known"]


def test_the_admin_endpoint_is_not_on_the_providers_port(sim: Sim) -> None:
    assert httpx.get(f"{sim.url}/sim/bill").status_code == 404


def test_a_port_that_is_taken_is_an_error_at_start(sim: Sim) -> None:
    with pytest.raises(OSError) as taken:
        Sim(listen=(sim.host, sim.port)).start()
    assert taken.value.errno == errno.EADDRINUSE


def test_it_serves_https_with_a_certificate() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with Sim(tls=context) as sim:
        assert httpx.get(f"{sim.openai_url}/models", verify=trusting).status_code == 200
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{sim.openai_url}/models")
        assert httpx.get(f"{sim.openai_url}/models", verify=trusting).status_code == 200
        sim.down()
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{sim.openai_url}/models", verify=trusting)


def test_waiting_for_what_does_not_come_says_what_was_there(sim: Sim) -> None:
    with RawClient(sim.host, sim.port) as client:
        client.send(ASK)
        client.read_until(b"[DONE]")
    with pytest.raises(TimeoutError, match="1 gpt-5-mini Served 200"):
        sim.wait_for(lambda server: len(server.log()) == 2, timeout=0.05)
