"""Body signatures: a partner's proof that it wrote these bytes. Every scheme can verify and sign.

scheme = SCHEMES["stripe"](secrets=["new", "old"], tolerance=300)
verified = scheme.verify(SignedRequest(method, url, headers, body), now)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Final

from activities.signatures.generic_hmac import schemes
from activities.signatures.scheme import ConfigError, KeyUnavailable, Scheme, SignatureError, SignedRequest, Verified


class Registry(Mapping[str, type[Scheme]]):
    """Schemes by name.

    made: scheme classes by name. places: the module and the class of every other scheme, by name. Such a module is
    imported when its scheme is looked up, because the command line needs all names before it may import cryptography.
    """

    def __init__(self, made: Mapping[str, type[Scheme]], places: Mapping[str, tuple[str, str]]) -> None:
        self._made = made
        self._places = places

    def __getitem__(self, name: str) -> type[Scheme]:
        if name in self._made:
            return self._made[name]
        module, class_name = self._places[name]
        scheme: type[Scheme] = getattr(import_module(f"{__name__}.{module}"), class_name)
        return scheme

    def __iter__(self) -> Iterator[str]:
        yield from self._places
        yield from self._made

    def __len__(self) -> int:
        return len(self._places) + len(self._made)


SCHEMES: Final = Registry(
    schemes(),
    {
        "standard-webhooks": ("standard_webhooks", "StandardWebhooks"),
        "svix": ("standard_webhooks", "Svix"),
        "twilio": ("twilio", "Twilio"),
        "sendgrid": ("public_key", "SendGrid"),
        "discord": ("public_key", "Discord"),
        "basic": ("authorization", "Basic"),
        "bearer": ("authorization", "Bearer"),
        "header-secret": ("authorization", "HeaderSecret"),
        "jwt": ("web_token", "WebToken"),
        "detached-jws": ("detached", "DetachedJws"),
        "public-key": ("pinned_keys", "PinnedKey"),
        "http-message-signatures": ("message_signatures", "MessageSignatures"),
        "sns": ("sns", "Sns"),
        "paypal": ("paypal", "PayPal"),
        "adyen-classic": ("adyen", "AdyenClassic"),
    },
)
"""All schemes, by name. The names in the table `ROWS` of `hmac_options` are among them."""

__all__ = ["SCHEMES", "ConfigError", "KeyUnavailable", "Scheme", "SignatureError", "SignedRequest", "Verified"]
