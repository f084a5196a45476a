"""Identity: visitors that an identity proxy in front of the console has signed in.

The proxy adds a signed assertion to every request, a JSON Web Token in a header, which is verified here with the keys
that the proxy publishes. A bare header that names a user proves nothing: a request that reaches the process past the
proxy can have one. With an identity proxy the password opens no session; it still signs forms.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import Response

from activities.environment import Environment
from activities.signatures import SCHEMES, ConfigError, KeyUnavailable, Scheme, SignatureError, SignedRequest
from activities.signatures.jose_tokens import read_claims
from activities.variables import VARIABLES
from receiver.console.guard import text_answer
from receiver.console.visits import Visit
from workflows.commands import LONGEST_COMMAND_NAME

logger = logging.getLogger("stagehook.console")

IDENTITY_ALGORITHMS: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Algorithms whose keys are public. A key set at a URL must not verify by a shared secret."""

UNPROVEN_VISITOR: Final = "The identity proxy's assertion is missing or invalid. Open the console through the proxy."
NO_KEYS: Final = "The identity proxy's keys have not been fetched yet. Load the page again in a moment."
NO_NAME_CLAIM: Final = (
    "The identity proxy's assertion does not name you: set CONSOLE_IDENTITY_CLAIM to a claim that does."
)


@dataclass(frozen=True)
class Identity:
    """How assertions are verified. header: where they are. claim: the claim that names the visitor."""

    scheme: Scheme
    header: str
    claim: str


class ProxyDoor:
    """The reception behind an identity proxy. now: the clock, in unix seconds."""

    def __init__(self, identity: Identity, now: Callable[[], float] = time.time) -> None:
        self._identity = identity
        self._now = now
        identity.scheme.prepare()

    def visit(self, request: Request) -> Visit | Response:
        """The visit of the user whom the assertion names; otherwise a refusal."""
        signed = SignedRequest(request.method, str(request.url), request.headers.items(), b"")
        try:
            self._identity.scheme.verify(signed, self._now())
            claims = read_claims(signed.one(self._identity.header).rpartition(" ")[2])
        except KeyUnavailable:
            return text_answer(503, NO_KEYS)
        except (SignatureError, ValueError) as error:
            logger.warning("console-identity-refused", extra={"why": str(error)})
            return text_answer(403, UNPROVEN_VISITOR)
        actor = _name_in(claims, self._identity.claim)
        return Visit(actor, f"identity {actor}") if actor else text_answer(403, NO_NAME_CLAIM)


def read_identity(env: Environment) -> Identity | None:
    """Read the identity proxy's settings, None if there is none; invalid settings become faults."""
    header = env.optional("CONSOLE_IDENTITY_HEADER")
    if not header:
        return None
    env.text("CONSOLE_PASSWORD", fix="an identity proxy takes the place of signing in; the password still signs forms")
    keys = env.text("CONSOLE_IDENTITY_JWKS", fix=VARIABLES["CONSOLE_IDENTITY_JWKS"])
    audience = env.text("CONSOLE_IDENTITY_AUDIENCE", fix=VARIABLES["CONSOLE_IDENTITY_AUDIENCE"])
    issuer = env.text("CONSOLE_IDENTITY_ISSUER", fix=VARIABLES["CONSOLE_IDENTITY_ISSUER"])
    claim = env.text("CONSOLE_IDENTITY_CLAIM", fix=VARIABLES["CONSOLE_IDENTITY_CLAIM"], default="email")
    algorithm = env.text("CONSOLE_IDENTITY_ALGORITHM", fix=VARIABLES["CONSOLE_IDENTITY_ALGORITHM"], default="RS256")
    if not (keys and audience and issuer):
        return None
    if not keys.startswith(("https:", "http:")):
        env.fault("CONSOLE_IDENTITY_JWKS", "is not a URL", VARIABLES["CONSOLE_IDENTITY_JWKS"])
    elif algorithm not in IDENTITY_ALGORITHMS:
        env.fault("CONSOLE_IDENTITY_ALGORITHM", "is unknown", f"use one of {', '.join(IDENTITY_ALGORITHMS)}")
    else:
        return _make(env, keys, header, claim, algorithm=algorithm, audience=audience, issuer=issuer)
    return None


def _make(env: Environment, keys: str, header: str, claim: str, **options: Any) -> Identity | None:
    try:
        scheme: Any = SCHEMES["jwt"]
        return Identity(scheme([keys], header=header, fresh_by="exp", **options), header, claim)
    except ConfigError as error:
        env.fault("CONSOLE_IDENTITY_JWKS", f"cannot be used: {error}", VARIABLES["CONSOLE_IDENTITY_JWKS"])
        return None


def _name_in(claims: dict[str, Any], claim: str) -> str:
    """The visitor's name; "" if the claim is not a printable text that the ledger can hold."""
    name = claims.get(claim)
    valid = isinstance(name, str) and 1 <= len(name) <= LONGEST_COMMAND_NAME and name.isprintable() and name.strip()
    return str(name) if valid else ""
