"""The session's control plane behaves as a real cluster does, as far as there are no nodes."""

from __future__ import annotations

import json
import ssl
from pathlib import Path
from typing import Any

import httpx
import kubernetes.client
import pytest
from kubernetes.client.exceptions import ApiException

from turnout_testing import waiting
from turnout_testing.controlplane import ClientError, ControlPlane

DEPLOYMENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app}
spec:
  replicas: 1
  selector: {matchLabels: {app: app}}
  template:
    metadata: {labels: {app: app}}
    spec: {containers: [{name: app, image: example.org/app:1}]}
"""
AUTOSCALER = """
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: app}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: app}
  minReplicas: 3
  maxReplicas: 5
  metrics: [{type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 50}}}]
"""
KIND = """
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: owners.testbed.turnout.dev}
spec:
  group: testbed.turnout.dev
  scope: Namespaced
  names: {kind: Owner, plural: owners}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object}}}]
"""
OWNER = """
apiVersion: testbed.turnout.dev/v1
kind: Owner
metadata: {name: owner}
"""


def get(control_plane: ControlPlane, *args: str) -> Any:
    return json.loads(control_plane.kubectl("get", *args, "-o", "json").stdout)


def trust(control_plane: ControlPlane) -> ssl.SSLContext:
    return ssl.create_default_context(cadata=control_plane.ca.decode())


def test_the_apiserver_answers_with_a_version_that_clients_can_parse(api: kubernetes.client.ApiClient) -> None:
    version = kubernetes.client.VersionApi(api).get_code()
    assert (version.major, version.minor) == ("1", "36")
    assert version.git_version == "v1.36.3"


def test_a_token_is_reviewed_as_its_service_account_for_its_audience_and_for_no_other(
    control_plane: ControlPlane, api: kubernetes.client.ApiClient, namespace: str
) -> None:
    token = control_plane.service_account_token(namespace, "default", audience="turnout")

    def review(audience: str) -> Any:
        spec = kubernetes.client.V1TokenReviewSpec(token=token, audiences=[audience])
        body = kubernetes.client.V1TokenReview(spec=spec)
        return kubernetes.client.AuthenticationV1Api(api).create_token_review(body).status

    accepted = review("turnout")
    assert accepted.authenticated
    assert accepted.user.username == f"system:serviceaccount:{namespace}:default"
    assert accepted.audiences == ["turnout"]
    assert not review("somebody-else").authenticated


def test_the_controller_manager_takes_up_an_autoscaler_and_scales_to_its_minimum(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", input=f"{DEPLOYMENT}---{AUTOSCALER}")

    def able_to_scale() -> bool:
        conditions = get(control_plane, "-n", namespace, "hpa", "app")["status"].get("conditions", [])
        return any(condition["type"] == "AbleToScale" and condition["status"] == "True" for condition in conditions)

    waiting.until(able_to_scale, what="AbleToScale=True on the autoscaler", within=60)
    waiting.until(
        lambda: get(control_plane, "-n", namespace, "deployment", "app")["spec"]["replicas"] == 3,
        what="three replicas",
        within=60,
    )
    waiting.until(
        lambda: len(get(control_plane, "-n", namespace, "pods", "-l", "app=app")["items"]) == 3,
        what="three pods, made by the deployment and replica set controllers",
        within=60,
    )


def test_deleting_an_owner_collects_what_it_owns_and_nothing_else(
    api: kubernetes.client.ApiClient, namespace: str
) -> None:
    core = kubernetes.client.CoreV1Api(api)

    def create(name: str, *owners: kubernetes.client.V1OwnerReference) -> kubernetes.client.V1ConfigMap:
        metadata = kubernetes.client.V1ObjectMeta(name=name, owner_references=list(owners))
        return core.create_namespaced_config_map(namespace, kubernetes.client.V1ConfigMap(metadata=metadata))

    def remaining() -> set[str | None]:
        items = core.list_namespaced_config_map(namespace).items
        return {item.metadata.name for item in items if item.metadata}

    owner = create("owner").metadata
    assert owner is not None
    assert owner.uid is not None
    create("free")
    create("owned", kubernetes.client.V1OwnerReference(api_version="v1", kind="ConfigMap", name="owner", uid=owner.uid))
    core.delete_namespaced_config_map("owner", namespace)
    waiting.until(lambda: "owned" not in remaining(), what="the collection of the owned ConfigMap", within=60)
    assert "free" in remaining()


def test_a_restarted_controller_manager_collects_below_a_kind_added_before(
    control_plane: ControlPlane, namespace: str
) -> None:
    control_plane.kubectl("apply", "-f", "-", input=KIND)
    control_plane.kubectl("wait", "--for=condition=Established", "crd/owners.testbed.turnout.dev")
    control_plane.restart_controller_manager()
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", input=OWNER)
    uid = get(control_plane, "-n", namespace, "owner", "owner")["metadata"]["uid"]
    reference = {"apiVersion": "testbed.turnout.dev/v1", "kind": "Owner", "name": "owner", "uid": uid}
    owned = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "owned", "ownerReferences": [reference]}}
    control_plane.kubectl("-n", namespace, "apply", "-f", "-", input=json.dumps(owned))
    control_plane.kubectl("-n", namespace, "delete", "owner", "owner")
    waiting.until(
        lambda: control_plane.kubectl("-n", namespace, "get", "configmap", "owned", check=False).returncode != 0,
        what="the collection of the owned ConfigMap",
        within=25,  # less than the collector's own period, which is what the restart is to spare
    )
    control_plane.kubectl("delete", "crd", "owners.testbed.turnout.dev", "--wait=false")


def test_data_and_controllers_survive_a_killed_apiserver(
    control_plane: ControlPlane, api: kubernetes.client.ApiClient, namespace: str
) -> None:
    control_plane.kubectl("-n", namespace, "create", "configmap", "before", "--from-literal=key=value")
    with control_plane.apiserver_down(), pytest.raises(httpx.ConnectError):
        httpx.get(control_plane.url, verify=trust(control_plane), trust_env=False)
    assert get(control_plane, "-n", namespace, "configmap", "before")["data"] == {"key": "value"}

    control_plane.kubectl("create", "namespace", f"{namespace}-after")
    core = kubernetes.client.CoreV1Api(api)
    waiting.until(
        lambda: core.list_namespaced_service_account(f"{namespace}-after").items,
        what="a ServiceAccount made after the outage",
        within=60,
    )
    control_plane.kubectl("delete", "namespace", f"{namespace}-after", "--wait=false")


def test_a_frozen_apiserver_keeps_connections_open_and_answers_after_the_thaw(control_plane: ControlPlane) -> None:
    with httpx.Client(base_url=control_plane.url, verify=trust(control_plane), trust_env=False) as client:
        assert client.get("/livez", timeout=30).text == "ok"
        with control_plane.apiserver_frozen(), pytest.raises(httpx.ReadTimeout):
            client.get("/livez", timeout=0.3)
        assert client.get("/livez", timeout=30).text == "ok"


def test_a_user_may_do_what_rbac_grants_and_nothing_more(control_plane: ControlPlane, namespace: str) -> None:
    alice = control_plane.kubeconfig("alice@example.org", groups=("readers",))
    with pytest.raises(ClientError, match=r'User "alice@example\.org" cannot list resource "configmaps"'):
        control_plane.kubectl("-n", namespace, "get", "configmaps", kubeconfig=alice)
    control_plane.kubectl("-n", namespace, "create", "rolebinding", "r", "--clusterrole=view", "--group=readers")
    waiting.until(
        lambda: (
            control_plane.kubectl("-n", namespace, "get", "configmaps", kubeconfig=alice, check=False).returncode == 0
        ),
        what="the binding's effect",
        within=30,
    )
    refused = control_plane.kubectl("-n", namespace, "get", "secrets", kubeconfig=alice, check=False)
    assert refused.returncode != 0


def test_a_service_accounts_kubeconfig_speaks_for_it(control_plane: ControlPlane, namespace: str) -> None:
    kubeconfig = control_plane.service_account_kubeconfig(namespace, "default")
    whoami = control_plane.kubectl("auth", "whoami", "-o", "json", kubeconfig=kubeconfig)
    user = f"system:serviceaccount:{namespace}:default"
    assert json.loads(whoami.stdout)["status"]["userInfo"]["username"] == user
    with control_plane.api_client(kubeconfig) as client, pytest.raises(ApiException, match="cannot list resource"):
        kubernetes.client.CoreV1Api(client).list_namespaced_secret(namespace)


def test_nobody_may_read_credentials_and_no_user_reaches_etcd(control_plane: ControlPlane) -> None:
    pki = control_plane.directory / "pki"
    private: list[Path] = [*pki.glob("*.key"), *(control_plane.directory / "kubeconfigs").iterdir()]
    assert private
    assert {path.stat().st_mode & 0o077 for path in private} == {0}
    context = ssl.create_default_context(cafile=pki / "etcd-ca.crt")
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")  # a certificate of the other authority
    with pytest.raises(httpx.TransportError):
        httpx.get(f"https://127.0.0.1:{control_plane.ports.etcd}/health", verify=context, trust_env=False)


def test_helm_finds_the_bed(control_plane: ControlPlane) -> None:
    assert json.loads(control_plane.helm("list", "-A", "-o", "json").stdout) == []
