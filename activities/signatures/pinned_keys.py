"""Signatures by a private key of the provider's, checked with the public key that it shows: RSA, ECDSA and Ed25519.

What is signed is the body, or a template. The secrets are public keys: PEM, a certificate, or base64 of DER. To sign,
as the sandbox and a webhook replay do, also give the private key.
"""

from __future__ import annotations

import base64
import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from activities.signatures.asymmetric_keys import (
    NO_PRIVATE_KEY,
    KeyPairScheme,
    load_private_key,
    paired,
    read_public_key,
)
from activities.signatures.hmac_options import Options
from activities.signatures.jose_tokens import decode_base64url, encode_base64url
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    SignatureError,
    SignedRequest,
    check_choice,
    decode_base64,
    decode_hex,
)
from activities.signatures.template_scheme import TemplateScheme
from activities.signatures.templates import Context
from activities.signatures.variants import STEP_OF_OPTION, changed, variants, written

MOST_KEY_SIGNATURES: Final = 4
"""Signatures of one list that are checked: each costs far more than an HMAC."""

SIGNATURE_ENCODINGS: Final[Mapping[str, tuple[Callable[[str], bytes], Callable[[bytes], str]]]] = {
    "base64": (decode_base64, lambda raw: base64.b64encode(raw).decode()),
    "base64url": (decode_base64url, encode_base64url),
    "hex": (decode_hex, bytes.hex),
}
"""How a signature is written: what decodes and what encodes it."""


@dataclass(frozen=True)
class Algorithm:
    """How a signature is made and checked. kind: the class of the public keys.

    check: takes key, signature and text; raises `InvalidSignature` or ValueError. make: takes private key and text.
    """

    kind: type[Any]
    check: Callable[[Any, bytes, bytes], None]
    make: Callable[[Any, bytes], bytes]

    def matches(self, key: Any, signature: bytes, text: bytes) -> bool:
        """Whether the signature of the text is by the private half of the key."""
        try:
            self.check(key, signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


def _rsa(digest: hashes.HashAlgorithm) -> Algorithm:
    pad = padding.PKCS1v15()
    return Algorithm(
        rsa.RSAPublicKey,
        lambda key, signature, text: key.verify(signature, text, pad, digest),
        lambda key, text: key.sign(text, pad, digest),
    )


def _rsa_pss(digest: hashes.HashAlgorithm) -> Algorithm:
    mask = padding.MGF1(digest)
    any_salt, own_salt = padding.PSS(mask, padding.PSS.AUTO), padding.PSS(mask, digest.digest_size)
    return Algorithm(
        rsa.RSAPublicKey,
        lambda key, signature, text: key.verify(signature, text, any_salt, digest),
        lambda key, text: key.sign(text, own_salt, digest),
    )


def _ecdsa(digest: hashes.HashAlgorithm) -> Algorithm:
    return Algorithm(
        ec.EllipticCurvePublicKey,
        lambda key, signature, text: key.verify(signature, text, ec.ECDSA(digest)),
        lambda key, text: key.sign(text, ec.ECDSA(digest)),
    )


def _ecdsa_raw(digest: hashes.HashAlgorithm) -> Algorithm:
    return Algorithm(
        ec.EllipticCurvePublicKey,
        lambda key, signature, text: key.verify(_to_der(signature, key.key_size), text, ec.ECDSA(digest)),
        lambda key, text: _to_raw(key.sign(text, ec.ECDSA(digest)), key.key_size),
    )


KEY_ALGORITHMS: Final[Mapping[str, Algorithm]] = {
    f"{name}-sha{digest.digest_size * 8}": made(digest)
    for name, made in {"rsa": _rsa, "rsa-pss": _rsa_pss, "ecdsa": _ecdsa, "ecdsa-raw": _ecdsa_raw}.items()
    for digest in (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
} | {
    "ed25519": Algorithm(
        Ed25519PublicKey,
        lambda key, signature, text: key.verify(signature, text),
        lambda key, text: bytes(key.sign(text)),
    )
}
"""The algorithms. An `ecdsa` signature is DER; an `ecdsa-raw` one is its two numbers, one after the other."""


class PinnedKey(KeyPairScheme, TemplateScheme):
    """A signature that a pinned public key verifies: Wise, Starling, Telnyx, Circle and others.

    algorithm: one of `KEY_ALGORITHMS`, such as rsa-sha256. encoding: base64, base64url (without padding) or hex. The
    other options are those of `hmac`: see `Options`. private_key: only for signing; it must belong to one of the public
    keys. Never deduplicate by an ECDSA signature: its reader can write another valid one.
    """

    name = "public-key"
    fixed_length = False
    options: ClassVar[tuple[str, ...]] = tuple(field.name for field in fields(Options) if field.name != "key")

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        algorithm: str = "",
        header: str = "",
        signature: str = "",
        prefix: str = "",
        form: str = "",
        separator: str = "",
        encoding: str = "base64",
        signed: str = "body",
        timestamp_header: str = "",
        timestamp: str = "",
        time_unit: str = "s",
        id_header: str = "",
        private_key: str = "",
        tolerance: int = DEFAULT_TOLERANCE,
    ) -> None:
        check_choice("algorithm", algorithm, KEY_ALGORITHMS)
        check_choice("encoding", encoding, SIGNATURE_ENCODINGS)
        self._set_up(
            Options(
                header=header,
                algorithm=algorithm,
                encoding=encoding,
                signature=signature,
                prefix=prefix,
                form=form,
                separator=separator,
                signed=signed,
                timestamp_header=timestamp_header,
                timestamp=timestamp,
                time_unit=time_unit,
                id_header=id_header,
            )
        )
        super().__init__(secrets, tolerance=tolerance)
        self._private = paired(load_private_key(private_key), self._keys) if private_key else None

    def _set_up(self, options: Options) -> None:
        super()._set_up(options)
        self._algorithm = KEY_ALGORITHMS[options.algorithm]
        self._decode, self._encode = SIGNATURE_ENCODINGS[options.encoding]
        if self._template.text.count("{body}") > 1:
            raise ConfigError("signed has {body} twice: write it once")
        if "secret" in self._template.names:
            raise ConfigError("a private key signs no {secret}: leave it out of signed")

    def variants(self, request: SignedRequest) -> Iterator[tuple[str, str, Self]]:
        """Yield the scheme with one or two other options, for the same keys."""
        texts = [value for _, value in self.carried(request)]
        fitting = [name for name, one in KEY_ALGORITHMS.items() if all(isinstance(key, one.kind) for key in self._keys)]
        for changes in variants(self._options, texts, algorithms=fitting, encodings=list(SIGNATURE_ENCODINGS), keys=[]):
            other = copy.copy(self)
            try:
                other._set_up(changed(self._options, changes))
            except ConfigError:
                continue
            yield STEP_OF_OPTION.get(next(iter(changes)), "header"), written(changes), other

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = [read_public_key(secret) for secret in secrets]
        if not all(isinstance(key, self._algorithm.kind) for key in self._keys):
            raise ConfigError("a key is not one for the algorithm")

    def _match(self, context: Context, signatures: Sequence[str]) -> int | None:
        decoded = self._decoded(signatures[:MOST_KEY_SIGNATURES])
        text = self._template.fill(context)
        for index, key in enumerate(self._keys):
            if any(self._algorithm.matches(key, signature, text) for signature in decoded):
                return index
        return None

    def _make(self, context: Context) -> str:
        if self._private is None:
            raise ConfigError(NO_PRIVATE_KEY)
        return self._encode(self._algorithm.make(self._private, self._template.fill(context)))

    def _decoded(self, signatures: Sequence[str]) -> list[bytes]:
        """Decode those signatures that can be decoded; raises `SignatureError` if none can."""
        found, why = [], "no signature has the form of the scheme"
        for signature in signatures:
            try:
                found.append(self._decode(signature))
            except ValueError as error:
                why = str(error)
        if not found:
            raise SignatureError("malformed-header", why)
        return found


def _to_der(signature: bytes, bits: int) -> bytes:
    size = (bits + 7) // 8
    if len(signature) != 2 * size:
        raise ValueError("not two numbers of the curve's size")
    return encode_dss_signature(int.from_bytes(signature[:size], "big"), int.from_bytes(signature[size:], "big"))


def _to_raw(signature: bytes, bits: int) -> bytes:
    return b"".join(number.to_bytes((bits + 7) // 8, "big") for number in decode_dss_signature(signature))
