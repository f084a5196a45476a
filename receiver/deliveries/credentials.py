"""Credentials: which headers carry something to get in with, by their names. What a signature is made of stays."""

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
"""Whatever has one of these in its name is one."""

ENDS: Final = ("auth", "keys?", "pwd", "sessid")
"""Whatever has a word that ends so is one: X-OAuth, X-ApiKey."""

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
"""Whatever has one of these as a word is one; within a longer word they mean something else."""

KEPT: Final = (
    # A signature proves one body, and lets nobody in. Nor does the name of the key that made it, or of the method.
    "signature(?:-[0-9]+)?$",
    "key-id(?:entifier)?$",
    "(?:^|-)(?:ably|pusher)-key$",
    "-algo(?:rithm)?$",
    "-version$",
    # What is signed beside the body.
    "-timestamp$",
    "auth(?:orization)?-nonce$",
    "authorization-(?:content-sha256|digest)$",
    # Which request or event it is.
    "idempotency-(?:key|token)$",
    "(?:^|-)(?:event|routing|partition)-?key$",
)
"""Whatever has one of these in its name is none."""

CREDENTIAL: Final = re.compile(
    rf"{'|'.join(PARTS)}|(?:{'|'.join(ENDS)})[0-9]*(?:-|$)|(?:^|-)(?:{'|'.join(WORDS)})[0-9]*(?:-|$)"
)
NONE: Final = re.compile("|".join(KEPT))


LONGEST_REMEMBERED: Final = 64
"""Characters. The same few names come with every request; long ones would only fill the memory."""


def is_credential(name: str) -> bool:
    """Whether a header of this name is dropped."""
    return _remembered(name) if len(name) <= LONGEST_REMEMBERED else _is_credential(name)


def _is_credential(name: str) -> bool:
    plain = name.lower().replace("_", "-")
    return not NONE.search(plain) and bool(CREDENTIAL.search(plain))


_remembered = lru_cache(maxsize=1024)(_is_credential)
