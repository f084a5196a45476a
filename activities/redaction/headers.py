"""Credentials: tells by its name whether a header carries a credential. Headers that make up a signature are kept.

Examples: `Authorization`, `X-Api-Key` and `X-Session-Id` are dropped; `X-Acme-Signature`, `X-Key-Id` and
`Idempotency-Key` are kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

SECRET_WORDS: Final = "credential|passphrase|passwd|password|secret|token"  # noqa: S105 - words, not a secret
"""Words that name a credential. `activities.redaction.secrets` looks for them in the names of variables too."""

CREDENTIAL: Final = re.compile(
    rf"""
    {SECRET_WORDS}|authentication|authori[sz]ation|bearer|cookie|jwt|passcode|session  # anywhere: X-AppSecret
    |(?:auth|keys?|pwd|sessid)[0-9]*(?:-|$)  # at the end of a word: X-OAuth, X-ApiKey
    |(?:^|-)(?:access-?code|assertion|auth-?code|authpass|creds?|dpop|oidc|pass|pins?|sas-sig|sid|t?otp|ticket$
        |userpass|verif-hash|wsse)[0-9]*(?:-|$)  # only as a whole word: X-Pin, but not X-Pinned
    """,
    re.VERBOSE,
)
KEPT: Final = re.compile(
    r"""
    # A signature proves a single body, and gives no access. Neither does the name of its key or its algorithm.
    signature(?:-[0-9]+)?$|key-id(?:entifier)?$|(?:^|-)(?:ably|pusher)-key$|-algo(?:rithm)?$|-version$
    |-timestamp$|auth(?:orization)?-nonce$|authorization-(?:content-sha256|digest)$  # signed together with the body
    |idempotency-(?:key|token)$|(?:^|-)(?:event|routing|partition)-?key$  # identifiers of the request or event
    """,
    re.VERBOSE,
)
"""A name in which this is found is not a credential, whatever else it contains."""


@lru_cache(maxsize=256)  # the same few names come with every request; a name has at most 32 KiB
def is_credential(name: str) -> bool:
    """Whether a header of this name carries a credential, and so is dropped."""
    plain = name.lower().replace("_", "-")
    return not KEPT.search(plain) and bool(CREDENTIAL.search(plain))
