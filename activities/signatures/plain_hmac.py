"""HMAC schemes: one signature over a template, as options say.

Sources: the providers' own documentation of their webhooks' signatures, and their published libraries.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, Self

from activities.signatures.encodings import ENCODINGS, read_key
from activities.signatures.hmac_options import Options, Row, check_words
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    SignatureError,
    SignedRequest,
    Verified,
    first_match,
)
from activities.signatures.template_scheme import TemplateScheme
from activities.signatures.templates import Context
from activities.signatures.variants import STEP_OF_OPTION, changed, variants, written


class HmacScheme(TemplateScheme):
    """A scheme that a `Row` describes."""

    row: ClassVar[Row] = Row(Options("X-Signature"))
    signing_advice = "give a body that has the signed fields, and --url and --id as the partner sends them"

    def __init__(self, secrets: Sequence[str], *, tolerance: int = DEFAULT_TOLERANCE) -> None:
        self._set_up(type(self).row.options)
        super().__init__(secrets, tolerance=tolerance)

    def _set_up(self, options: Options) -> None:
        check_words(options)
        super()._set_up(options)
        self._is_digest = "secret" in self._template.names

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._secrets = secrets
        self._keys = [read_key(secret, self._options.key) for secret in secrets]
        wanted = type(self).row.key_bytes
        if wanted and any(len(key) != wanted for key in self._keys):
            raise ConfigError(f"a secret is not {2 * wanted} hexadecimal digits")

    # --- verify and sign

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check every signature that the request carries against every key."""
        if says := type(self).row.says:
            _check_method(request, *says)
        return super().verify(request, now)

    def _match(self, context: Context, signatures: Sequence[str]) -> int | None:
        return first_match(self._expected(context), signatures)

    def _make(self, context: Context) -> str:
        return self._expected(context)[0]

    def _expected(self, context: Context) -> list[str]:
        encode, algorithm = ENCODINGS[self._options.encoding], self._options.algorithm
        if not self._is_digest:
            text = self._template.fill(context)
            return [encode(hmac.digest(key, text, algorithm)) for key in self._keys]
        if not self._template.text.endswith("{secret}"):
            self._check_text(context)
        texts = [self._template.fill(replace(context, secret=key)) for key in self._keys]
        return [encode(hashlib.new(algorithm, text, usedforsecurity=False).digest()) for text in texts]

    def _check_text(self, context: Context) -> None:
        # A digest of secret and text can be continued without the secret, but only by bytes that are not UTF-8.
        try:
            self._template.fill(context).decode()
        except UnicodeDecodeError as error:
            raise SignatureError("malformed-body", "not UTF-8, which a plain digest needs") from error

    # --- for diagnoses

    def with_key(self, key: bytes) -> Self:
        """Return the same scheme with `key` as its only key. Any bytes can be a key."""
        other = copy.copy(self)
        other._keys = [key]
        return other

    def explanation(self) -> list[tuple[str, str]]:
        """Say what the options mean."""
        options = self._options
        name = options.algorithm.upper()
        kind = f"{name} of the text with the secret in it" if self._is_digest else f"HMAC-{name}"
        _, signature, *others = super().explanation()
        return [
            ("scheme", f"{self.name}: {kind}, written in {options.encoding}"),
            signature,
            ("key", f"the secret is {options.key}" if options.key != "text" else "the text of the secret"),
            *others,
        ]

    def variants(self, request: SignedRequest) -> Iterator[tuple[str, str, Self]]:
        """Yield the scheme with one or two other options."""
        texts = [value for _, value in self.carried(request)]
        for changes in variants(self._options, texts):
            other = copy.copy(self)
            try:
                other._set_up(changed(self._options, changes))
                other._read_secrets(self._secrets)
            except ConfigError:
                continue
            yield STEP_OF_OPTION.get(next(iter(changes)), "header"), written(changes), other


def _check_method(request: SignedRequest, header: str, method: str) -> None:
    if request.all(header) and request.one(header) != method:
        raise SignatureError("malformed-header", f"{header} is not {method}")
