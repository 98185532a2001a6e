"""Metadata of objects that Turnout writes: an allowlist of labels, and the owner that takes them along when it goes.

Nothing of the owner's own labels or annotations is ever copied: a GitOps tool that finds its tracking label on a child prunes the child or
loops (seen at eight operators). That is why nothing here takes them as an argument.
"""

from __future__ import annotations

from typing import Any

from turnout_operator.api import API_VERSION
from turnout_operator.snapshot import OWNED_BY


def metadata(*, name: str, namespace: str, owner_kind: str, owner_name: str, owner_uid: str) -> dict[str, Any]:
    """The whole metadata of an owned object; without a uid (no cluster) nobody owns it."""
    made: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": {
            OWNED_BY[0]: OWNED_BY[1],
            "app.kubernetes.io/part-of": "turnout",
            f"turnout.dev/{owner_kind.lower()}": owner_name,
        },
    }
    if owner_uid:
        made["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": owner_kind,
                "name": owner_name,
                "uid": owner_uid,
                "controller": True,
                "blockOwnerDeletion": False,  # the operator may not set finalizers on pools, so it may not block either
            }
        ]
    return made
