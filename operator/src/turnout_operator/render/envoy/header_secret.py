"""The SDS secret behind one credential header, by name only."""

from __future__ import annotations

from dataclasses import dataclass

from turnout_operator.clusters import Credential, SecretKey


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class HeaderSecret:
    """The whole value of a header: `prefix` and the Secret's key. The prefix rides in the secret because the stored types of Envoy's
    credential injector know no `header_value_prefix`; so a key that is used in two ways is two SDS secrets."""

    key: SecretKey
    prefix: str = ""

    @classmethod
    def of(cls, credential: Credential) -> HeaderSecret:
        """What the cluster of this credential asks SDS for."""
        return cls(key=credential.secret, prefix=credential.prefix)

    @property
    def name(self) -> str:
        """Under which SDS serves it."""
        scheme = self.prefix.strip().lower()
        return f"{self.key.sds_name}/{scheme}" if scheme else self.key.sds_name
