"""Kubeconfig files: who talks to which apiserver, trusting which CA."""

from __future__ import annotations

import base64
from pathlib import Path

import yaml

from turnout_testing.controlplane.certificates import Credential, write_private


def write_for_certificate(path: Path, *, server: str, ca: bytes, credential: Credential) -> None:
    """Write a kubeconfig that authenticates by client certificate; `server` is an https URL, `ca` PEM."""
    user = {
        "client-certificate-data": _base64(credential.certificate),
        "client-key-data": _base64(credential.key),
    }
    _write(path, server, ca, user)


def write_for_token_file(path: Path, *, server: str, ca: bytes, token_file: Path) -> None:
    """Write a kubeconfig that reads its bearer token from a file, as a pod does; the file may be rewritten."""
    _write(path, server, ca, {"tokenFile": str(token_file)})


def _write(path: Path, server: str, ca: bytes, user: dict[str, str]) -> None:
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {"name": "turnout", "cluster": {"server": server, "certificate-authority-data": _base64(ca)}},
        ],
        "users": [{"name": "turnout", "user": user}],
        "contexts": [{"name": "turnout", "context": {"cluster": "turnout", "user": "turnout"}}],
        "current-context": "turnout",
    }
    write_private(path, yaml.safe_dump(document, sort_keys=False).encode())


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()
