"""Trial: the settings of the sample partners when TRIAL=1 plays them inside the web process.

A first deploy has no partners. With TRIAL=1 the sandbox is mounted below PUBLIC_URL, at `/trial`, and web and worker
need no further variables: the addresses follow from PUBLIC_URL, and each sample's key and secret are derived from
CALLBACK_KEYS, so that both processes have the same. The purpose in the derivation separates them from each other and
from the keys that sign callback tokens: a derived value tells nothing about those.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence
from typing import Final

from activities.environment import Environment, is_loopback
from activities.strength import is_patterned_key, is_weak_key

TRIAL_PATH: Final = "/trial"
SAMPLES: Final = ("identity", "bank", "esign", "cards", "idcheck", "payments", "sandbox")
"""Every partner that the sandbox plays for a trial."""

DEFAULT_PARTNERS: Final = "identity,bank,esign,cards,sandbox"
"""What PARTNERS is without a value: the partners of the onboarding pipeline, none of which needs a store."""

TRIAL_SALT: Final = b"stagehook.trial.v1:"
"""Differs from the salts of `activities.callback_urls`."""

SECRET_BYTES: Final = 30


def prepare(env: Environment, public_url: str, keys: Sequence[str]) -> None:
    """Add the samples' settings to `env`, except for keys and secrets that are given.

    A given address becomes a fault, and so does a given key that could be guessed: it opens a public address.
    """
    for name in SAMPLES:
        variable = address_variable(name)
        expected = f"{public_url}{TRIAL_PATH}" if name == "sandbox" else f"{public_url}{TRIAL_PATH}/{name}"
        if env.optional(variable).rstrip("/") not in {"", expected}:
            env.fault(variable, "is set beside TRIAL=1, which plays this partner inside web", "remove it")
        given = "" if is_loopback(public_url) else env.optional(f"{name.upper()}_KEY")
        if given and (is_weak_key(given) or is_patterned_key(given)):
            fix = "remove it: it is derived from CALLBACK_KEYS; or use what `stagehook key generate` prints"
            env.fault(f"{name.upper()}_KEY", "is weak, and with TRIAL=1 it opens the sandbox", fix)
        env.add_defaults({variable: expected})
    env.add_defaults({"PARTNERS": DEFAULT_PARTNERS, **derived_secrets(keys)})


def address_variable(name: str) -> str:
    """The variable that holds a sample's address."""
    return f"{name.upper()}_URL"


def derived_secrets(keys: Sequence[str]) -> dict[str, str]:
    """Return each sample's key, from the first callback key, and its signing secrets, from each key in turn.

    So no call and no callback is refused while the callback keys are rotated, whichever process has the new key first.
    """
    return {f"{name.upper()}_KEY": _derive(key, f"{name}.key") for name in SAMPLES for key in keys[:1]} | {
        f"{name.upper()}_SECRET": ",".join(_derive(key, f"{name}.secret") for key in keys) for name in SAMPLES
    }


def _derive(key: str, purpose: str) -> str:
    """A secret for one purpose, in base64, which every sample's scheme takes."""
    digest = hmac.digest(key.encode(), TRIAL_SALT + purpose.encode(), "sha256")
    return base64.b64encode(digest[:SECRET_BYTES]).decode()
