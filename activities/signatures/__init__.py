"""Body signatures: a partner's proof that it wrote these bytes. Every scheme can verify and sign.

scheme = SCHEMES["stripe"](secrets=["new", "old"], tolerance=300)
verified = scheme.verify(SignedRequest(method, url, headers, body), now)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from activities.signatures.authorization import Basic, Bearer
from activities.signatures.plain_hmac import schemes
from activities.signatures.public_key import Discord, SendGrid
from activities.signatures.scheme import ConfigError, Scheme, SignatureError, SignedRequest, Verified
from activities.signatures.standard_webhooks import StandardWebhooks, Svix
from activities.signatures.twilio import Twilio

SCHEMES: Final[Mapping[str, type[Scheme]]] = {
    **{scheme.name: scheme for scheme in (StandardWebhooks, Svix, Twilio, SendGrid, Discord, Basic, Bearer)},
    **schemes(),
}
"""All schemes, by name."""

__all__ = ["SCHEMES", "ConfigError", "Scheme", "SignatureError", "SignedRequest", "Verified"]
