"""Credentials: tells by its name whether a header carries a credential. Headers that make up a signature are kept.

Examples: `Authorization`, `X-Api-Key` and `X-Session-Id` are dropped; `X-Acme-Signature`, `X-Key-Id` and
`Idempotency-Key` are kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

PARTS: Final = (
    "authori[sz]ation",
    "authentication",
    "bearer",
    "cookie",
    "credential",
    "jwt",
    "passcode",
    "passphrase",
    "password",
    "passwd",
    "secret",
    "session",
    "token",
)
"""A name that contains one of these is a credential."""

ENDS: Final = ("auth", "keys?", "pwd", "sessid")
"""A name with a word that ends in one of these is a credential: X-OAuth, X-ApiKey."""

WORDS: Final = (
    "access-?code",
    "assertion",
    "auth-?code",
    "authpass",
    "creds?",
    "dpop",
    "oidc",
    "pass",
    "pins?",
    "sas-sig",
    "sid",
    "t?otp",
    "ticket$",
    "userpass",
    "verif-hash",
    "wsse",
)
"""A name with one of these as a whole word is a credential. Inside a longer word they mean something else."""

KEPT: Final = (
    # A signature proves a single body, and gives no access. Neither does the name of its key or its algorithm.
    "signature(?:-[0-9]+)?$",
    "key-id(?:entifier)?$",
    "(?:^|-)(?:ably|pusher)-key$",
    "-algo(?:rithm)?$",
    "-version$",
    # Values that are signed together with the body.
    "-timestamp$",
    "auth(?:orization)?-nonce$",
    "authorization-(?:content-sha256|digest)$",
    # Identifiers of the request or event.
    "idempotency-(?:key|token)$",
    "(?:^|-)(?:event|routing|partition)-?key$",
)
"""A name that contains one of these is not a credential, whatever else it contains."""

CREDENTIAL: Final = re.compile(
    rf"{'|'.join(PARTS)}|(?:{'|'.join(ENDS)})[0-9]*(?:-|$)|(?:^|-)(?:{'|'.join(WORDS)})[0-9]*(?:-|$)"
)
NONE: Final = re.compile("|".join(KEPT))


LONGEST_REMEMBERED: Final = 64
"""Characters of a name whose result is cached. The same few names come with every request; long names would only fill
the cache."""


def is_credential(name: str) -> bool:
    """Whether a header of this name carries a credential, and so is dropped."""
    return _remembered(name) if len(name) <= LONGEST_REMEMBERED else _is_credential(name)


def _is_credential(name: str) -> bool:
    plain = name.lower().replace("_", "-")
    return not NONE.search(plain) and bool(CREDENTIAL.search(plain))


_remembered = lru_cache(maxsize=1024)(_is_credential)
