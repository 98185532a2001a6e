"""Providers are verified against authorities and by name, always."""

import ssl
from pathlib import Path

import pytest
import trustme

from turnout_operator.sim import Sim
from turnout_testing.served import Served, edit, local_folder

pytestmark = pytest.mark.envoy
ASK = {"model": "support-answer", "messages": [{"role": "user", "content": "hi"}]}


def context(authority: trustme.CA, name: str) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    return made


def folder(directory: Path, sim: Sim) -> Path:
    """The primary pool asks for ``https://localhost``; the self-hosted one is not there."""
    made = local_folder(directory / "m", "http://127.0.0.1:1")
    edit(made / "20-pools.yaml", "http://127.0.0.1:1/v1\", allowInsecure: true}\n  credentials", f"https://localhost:{sim.port}/v1\", allowInsecure: true}}\n  credentials")  # fmt: skip
    return made


@pytest.mark.parametrize(
    ("trusted", "name", "status"),
    [(True, "localhost", 200), (True, "elsewhere.example", 503), (False, "localhost", 503)],
    ids=["right", "another name", "another authority"],
)
def test_a_provider_is_asked_only_with_the_right_certificate(
    tmp_path: Path, trusted: bool, name: str, status: int
) -> None:
    authority = trustme.CA()
    (authority if trusted else trustme.CA()).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with Sim(tls=context(authority, name)) as sim:
        with Served(folder(tmp_path, sim), tmp_path / "s", "--trusted-ca", str(tmp_path / "ca.pem")) as served:
            answer = served.post(ASK)
            assert answer.status_code == status
        assert len(sim.log()) == (1 if status == 200 else 0)
