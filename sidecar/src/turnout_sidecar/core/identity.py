"""Who asks. In a pod identity headers are the application's word over loopback; the values become subjects of accounts."""

import re
from urllib.parse import quote

from turnout_sidecar.core import refusals
from turnout_sidecar.core.host import Host
from turnout_sidecar.core.refusals import Code
from turnout_sidecar.messages import Refusal
from turnout_sidecar.policy.model import IdentityHeader, Label

NOBODY = "-"
"""The subject of requests that name none, where that is allowed. All of them share it."""
LONGEST = 128

_plain = re.compile(r"[A-Za-z0-9._-]{1,128}").fullmatch


def subject(host: Host, identity: IdentityHeader | None, what: str) -> str | Refusal:
    """The subject that this request names, percent-encoded, so that it can stand in an account's name."""
    if identity is None:
        return NOBODY
    value = host.header(identity.header)
    if not value:
        if identity.required:
            words = f"This route needs to know the {what}: send it in the header '{identity.header}'."
            return refusals.refusal(Code.IDENTITY_REQUIRED, words, identity.header)
        return NOBODY
    if _plain(value):
        return value if value != NOBODY else "%2D"  # a tenant of that name is not nobody
    encoded = quote(value, safe="").replace("~", "%7E")
    if len(encoded) > LONGEST:
        words = f"The header '{identity.header}' is longer than {LONGEST} characters when percent-encoded."
        return refusals.refusal(Code.IDENTITY_INVALID, words, identity.header)
    return encoded


def labels(host: Host, wanted: tuple[Label, ...]) -> str:
    """The labels that this request carries, for the access log: ``name=value`` with what is not plain percent-encoded and cut."""
    found = ((label.name, host.header(label.header)) for label in wanted)
    return ",".join(f"{name}={quote(value, safe='')[:LONGEST]}" for name, value in found if value)
