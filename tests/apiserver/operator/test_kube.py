"""What stands on the API server below the reconcilers: the serving certificate and the lead."""

from __future__ import annotations

from cryptography import x509

from turnout_operator.kube import certificates
from turnout_operator.kube.client import connect
from turnout_operator.kube.resources import SECRETS
from turnout_testing import waiting
from turnout_testing.installation import Installation

PATIENCE = 60


def names(chain: bytes) -> set[str]:
    leaf = x509.load_pem_x509_certificate(chain)
    held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(held.get_values_for_type(x509.DNSName))


def test_a_certificate_is_kept_until_the_service_has_another_name_and_its_ca_stays(installed: Installation) -> None:
    client = connect(installed.plane.admin_kubeconfig)
    first = certificates.ensure(client, namespace="default", service="turnout-control")
    assert certificates.ensure(client, namespace="default", service="turnout-control") == first
    renamed = certificates.ensure(client, namespace="default", service="renamed")
    assert renamed.ca == first.ca
    assert names(renamed.chain) == {"renamed", "renamed.default.svc", "renamed.default.svc.cluster.local"}
    assert "PRIVATE" not in repr(renamed)
    client.delete(SECRETS, "default", certificates.SECRET)


def test_a_leader_whose_api_server_hangs_gives_the_lead_up_by_its_own_clock(installed: Installation) -> None:
    leader = waiting.until(lambda: installed.leader, what="a leader", within=PATIENCE)
    with installed.plane.apiserver_frozen():
        # Connections stay open and nothing answers. Its lease is 3 s here, a call of the other client would wait for 30.
        waiting.until(lambda: not leader.leads, what="the leader to stop leading by itself", within=25)
    waiting.until(lambda: leader.process.pid is None, what="its process to end", within=PATIENCE)
    for replica in installed.replicas:
        if replica.process.pid is None:
            replica.start()
    waiting.until(lambda: installed.leader, what="a leader again", within=PATIENCE)
