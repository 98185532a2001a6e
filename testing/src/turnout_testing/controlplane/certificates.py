"""Certificate authorities of one bed: serving certificates for loopback, client certificates for any user and groups."""

from __future__ import annotations

import datetime as dt
import ipaddress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

_LIFETIME = dt.timedelta(days=365)
# A clock that stands a little behind (a container beside its host) must not find the certificate not yet valid.
_BACKDATING = dt.timedelta(hours=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credential:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    key: bytes

    def __repr__(self) -> str:
        return "Credential([redacted])"

    def write(self, folder: Path, name: str) -> None:
        """Write `name`.crt and `name`.key; the key is readable by its owner only."""
        (folder / f"{name}.crt").write_bytes(self.certificate)
        write_private(folder / f"{name}.key", self.key)


class Authority:
    """One CA. Load it from a folder or create it there, then issue."""

    def __init__(self, credential: Credential) -> None:
        self._certificate = x509.load_pem_x509_certificate(credential.certificate)
        key = serialization.load_pem_private_key(credential.key, None)
        assert isinstance(key, ec.EllipticCurvePrivateKey), "the bed's authorities use elliptic curve keys"
        self._key = key

    @classmethod
    def at(cls, folder: Path, name: str) -> Authority:
        """Return the authority kept in `folder` under `name`, creating it the first time."""
        if not (folder / f"{name}.crt").exists():
            _self_signed(name).write(folder, name)
        return cls(
            Credential(certificate=(folder / f"{name}.crt").read_bytes(), key=(folder / f"{name}.key").read_bytes())
        )

    @property
    def certificate(self) -> bytes:
        """Return the CA's certificate, PEM."""
        return self._certificate.public_bytes(serialization.Encoding.PEM)

    def issue_server(self, hosts: tuple[str, ...]) -> Credential:
        """Issue a certificate for a server (and peer) reached under these DNS names and IP addresses."""
        names = [_general_name(host) for host in hosts]
        usage = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        return self._issue(_subject(hosts[0], ()), usage, x509.SubjectAlternativeName(names))

    def issue_client(self, user: str, groups: tuple[str, ...]) -> Credential:
        """Issue a client certificate; Kubernetes reads the user from CN and the groups from O."""
        return self._issue(_subject(user, groups), [ExtendedKeyUsageOID.CLIENT_AUTH], None)

    def _issue(
        self, subject: x509.Name, usage: list[x509.ObjectIdentifier], names: x509.SubjectAlternativeName | None
    ) -> Credential:
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _unsigned(subject, self._certificate.subject, key.public_key())
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        if names is not None:
            builder = builder.add_extension(names, critical=False)
        return Credential(certificate=_sign(builder, self._key), key=_private_pem(key))


def write_signing_key(path: Path) -> None:
    """Create the key that signs ServiceAccount tokens, once: a new one would invalidate every token handed out.

    RSA, as nearly every real cluster has it: whoever verifies tokens should meet RS256 here too.
    """
    if not path.exists():
        write_private(path, _private_pem(rsa.generate_private_key(public_exponent=65537, key_size=2048)))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    staging = path.with_name(f"{path.name}.tmp")
    staging.touch(mode=0o600)
    staging.write_bytes(content)
    staging.rename(path)


def _self_signed(name: str) -> Credential:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = _subject(name, ())
    builder = _unsigned(subject, subject, key.public_key())
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=True,
        crl_sign=True,
        encipher_only=False,
        decipher_only=False,
    )
    return Credential(certificate=_sign(builder.add_extension(usage, critical=True), key), key=_private_pem(key))


def _unsigned(subject: x509.Name, issuer: x509.Name, public_key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _BACKDATING)
        .not_valid_after(now + _LIFETIME)
    )


def _sign(builder: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> bytes:
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _private_pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _subject(user: str, groups: tuple[str, ...]) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, user)])


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)
