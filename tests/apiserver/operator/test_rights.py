"""The operator runs under exactly the chart's rights, and those are few."""

from __future__ import annotations

import pytest

from turnout_testing.installation import ACCOUNT, NAMESPACE, Installation

AS = f"--as=system:serviceaccount:{NAMESPACE}:{ACCOUNT}"


def may(installed: Installation, verb: str, resource: str, namespace: str) -> bool:
    done = installed.plane.kubectl("auth", "can-i", verb, resource, f"--namespace={namespace}", AS, check=False)
    return done.stdout.strip() == "yes"


@pytest.mark.parametrize(
    ("verb", "resource", "namespace"),
    [
        ("list", "secrets", "llm"),
        ("watch", "secrets", "llm"),
        ("get", "secrets", "support"),
        ("get", "secrets", "kube-system"),
        ("create", "configmaps", "support"),
        ("get", "configmaps", "kube-system"),
        ("update", "llmroutes.turnout.dev", "support"),
        ("patch", "llmroutes.turnout.dev", "support"),
        ("patch", "deployments.apps", "llm"),
        ("create", "pods", NAMESPACE),
        ("escalate", "clusterroles.rbac.authorization.k8s.io", NAMESPACE),
    ],
)
def test_the_operator_may_not(installed: Installation, verb: str, resource: str, namespace: str) -> None:
    assert not may(installed, verb, resource, namespace)


def test_what_the_operator_may_do_is_this_list_and_nothing_else(installed: Installation) -> None:
    listed = installed.plane.kubectl("auth", "can-i", "--list", f"--namespace={NAMESPACE}", "--no-headers", AS).stdout
    # What every account may do (discovery, reviews of itself) is Kubernetes' own, not the chart's.
    own = [line for line in listed.splitlines() if "[/" not in line and "selfsubject" not in line]
    assert sorted(" ".join(line.split()) for line in own) == [
        "configmaps [] [] [get list watch create update patch delete]",
        "endpointslices.discovery.k8s.io [] [] [get create patch]",
        "events [] [] [create patch]",
        "fallbackdrills.turnout.dev [] [] [get list watch create delete]",
        "fallbackdrills.turnout.dev/status [] [] [get patch update]",
        "horizontalpodautoscalers.autoscaling [] [] [get list watch create patch delete]",
        "leases.coordination.k8s.io [] [] [get create update]",
        "llmroutes.turnout.dev [] [] [get list watch]",
        "llmroutes.turnout.dev/status [] [] [get patch update]",
        "namespaces [] [] [get list watch]",
        "providerpools.turnout.dev [] [] [get list watch]",
        "providerpools.turnout.dev/status [] [] [get patch update]",
        "secrets [] [] [create]",
        "secrets [] [turnout-control-tls] [get update]",
        "tokenreviews.authentication.k8s.io [] [] [create]",
    ]
