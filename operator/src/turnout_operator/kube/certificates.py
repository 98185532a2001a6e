"""The certificate that sidecars check: the operator makes its own CA once and keeps it in a Secret of its namespace.

So nothing else need be installed, and a Helm template stays the same at every render (a chart that generates certificates
does not). Whoever comes first creates the Secret; the others read it. The leaf is renewed when a third of its life is left.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from turnout_operator.kube.client import Client, Conflict
from turnout_operator.kube.resources import CONFIG_MAPS, SECRETS

SECRET = "turnout-control-tls"
CA_CONFIG_MAP = "turnout-ca"
_CA_LIFE = timedelta(days=3650)
_LEAF_LIFE = timedelta(days=365)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServingCertificate:
    """PEM bytes; the private key is kept out of every representation."""

    ca: bytes
    chain: bytes
    key: bytes = field(repr=False)


def ensure(client: Client, *, namespace: str, service: str) -> ServingCertificate:
    """The certificate for ``service.namespace.svc``, made or renewed where need be; its CA stands in ConfigMap `turnout-ca`."""
    now = datetime.now(UTC)
    names = (f"{service}.{namespace}.svc", f"{service}.{namespace}.svc.cluster.local", service)
    while True:
        secret = client.find(SECRETS, namespace, SECRET)
        if secret is not None and _fresh(secret, names, now):
            certificate = _serving(secret)
            break
        try:
            if secret is None:
                certificate = _serving(client.create(SECRETS, namespace, _new(namespace, names, now)))
            else:
                certificate = _serving(client.replace(SECRETS, namespace, _renewed(secret, names, now)))
            break
        except Conflict:
            continue  # another replica was quicker: read what it made
    client.apply(CONFIG_MAPS, _ca_object(namespace, certificate.ca))
    return certificate


def _fresh(secret: Mapping[str, Any], names: tuple[str, ...], now: datetime) -> bool:
    """Neither old nor for a Service of another name."""
    leaf = x509.load_pem_x509_certificate(_data(secret, "tls.crt"))
    holds = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(x509.DNSName)
    return leaf.not_valid_after_utc - now > _LEAF_LIFE / 3 and set(holds) == set(names)


def _serving(secret: Mapping[str, Any]) -> ServingCertificate:
    return ServingCertificate(ca=_data(secret, "ca.crt"), chain=_data(secret, "tls.crt"), key=_data(secret, "tls.key"))


def _new(namespace: str, names: tuple[str, ...], now: datetime) -> dict[str, Any]:
    ca_key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"turnout {namespace}")])
    ca = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(ca_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _CA_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "turnout"}},
        "type": "kubernetes.io/tls",
        "data": {"ca.crt": _b64(_pem(ca)), "ca.key": _b64(_private(ca_key)), **_leaf(ca, ca_key, names, now)},
    }


def _renewed(secret: Mapping[str, Any], names: tuple[str, ...], now: datetime) -> dict[str, Any]:
    ca = x509.load_pem_x509_certificate(_data(secret, "ca.crt"))
    ca_key = serialization.load_pem_private_key(_data(secret, "ca.key"), password=None)
    assert isinstance(ca_key, ec.EllipticCurvePrivateKey), "the CA's key was made by `_new`"
    return {**secret, "data": {**secret["data"], **_leaf(ca, ca_key, names, now)}}


def _leaf(
    ca: x509.Certificate, ca_key: ec.EllipticCurvePrivateKey, names: tuple[str, ...], now: datetime
) -> dict[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    leaf = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[-1])]))
        .issuer_name(ca.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + _LEAF_LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(ca_key.public_key()), critical=False)
        .sign(ca_key, hashes.SHA256())
    )
    return {"tls.crt": _b64(_pem(leaf)), "tls.key": _b64(_private(key))}


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=signs,
        crl_sign=signs,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _ca_object(namespace: str, ca: bytes) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": CA_CONFIG_MAP,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "turnout"},
        },
        "data": {"ca.crt": ca.decode()},
    }


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _data(secret: Mapping[str, Any], key: str) -> bytes:
    return base64.b64decode(secret["data"][key])


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()
