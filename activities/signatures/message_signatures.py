"""HTTP Message Signatures (RFC 9421), with the body covered by Content-Digest (RFC 9530).

The partner's file names the algorithm and the components that must be covered. A request with a body must cover its
Content-Digest. Components with parameters, such as `"x";sf`, are refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar, Final

from activities.signatures.asymmetric_keys import KeyPairScheme
from activities.signatures.jose_signers import Keys
from activities.signatures.scheme import (
    DEFAULT_TOLERANCE,
    ConfigError,
    KeyUnavailable,
    SignatureError,
    SignedRequest,
    Verified,
    check_choice,
    decode_base64,
    lower,
    same,
)
from activities.signatures.structured_fields import (
    Input,
    read_byte_sequence,
    read_dictionary,
    read_input,
    write_byte_sequence,
    write_string,
)

JOSE_NAMES: Final = {
    "hmac-sha256": "HS256",
    "ed25519": "EdDSA",
    "ecdsa-p256-sha256": "ES256",
    "ecdsa-p384-sha384": "ES384",
    "rsa-pss-sha512": "PS512",
    "rsa-v1_5-sha256": "RS256",
}
"""The algorithms (RFC 9421, 6.2.2), which are those of JSON Web Signatures under other names."""

SHARED_KEYS: Final[Mapping[str, Callable[[str], bytes]]] = {"text": str.encode, "base64": decode_base64}
CONTENT_DIGESTS: Final = {"sha-256": hashlib.sha256, "sha-512": hashlib.sha512}
CONTENT_DIGEST: Final = "content-digest"
COVERED_HEADER: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
LABEL: Final = re.compile(r"[a-z*][a-z0-9_.*-]*")
MOST_LABELS: Final = 4
"""Signatures of a request that are checked."""

LEFT_OUT_PORTS: Final = {"https": ":443", "http": ":80"}
URL: Final = re.compile(
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]+)(?P<path>/[^?#]*)?(?P<query>\?[^#]*)?"
)
WHOLE_URL: Final = ({"@target-uri"}, {"@path", "@query"}, {"@request-target"})


class MessageSignatures(KeyPairScheme):
    """An HTTP message signature. A secret is a shared key, a public key, or the https URL of a key set (JWKS).

    algorithm: the only one that is accepted, such as ed25519. key: what a shared key is, text or base64. covered: the
    components that must be covered, joined by blanks; more may be. tag, label: of the signature; "" for any. The time
    `created` must be there and be close to the clock, and `expires` must not have passed. private_key: for signing.
    """

    name = "http-message-signatures"
    covers_time = True
    header = "Signature"
    signing_advice = "give --url, and --private-key-env VAR or --private-key-file FILE"
    options: ClassVar[tuple[str, ...]] = ("algorithm", "key", "covered", "tag", "label")

    def __init__(
        self,
        secrets: Sequence[str],
        *,
        algorithm: str = "",
        key: str = "text",
        covered: str = "@method @target-uri content-digest",
        tag: str = "",
        label: str = "",
        private_key: str = "",
        tolerance: int = DEFAULT_TOLERANCE,
    ) -> None:
        check_choice("algorithm", algorithm, JOSE_NAMES)
        check_choice("key", key, SHARED_KEYS)
        if not all(isinstance(text, str) and text.isascii() and text.isprintable() for text in (covered, tag, label)):
            raise ConfigError("covered, tag and label have printable ASCII characters")
        self._algorithm, self._key, self._tag, self._label = algorithm, key, tag, label
        self._covered = covered.split()
        for name in self._covered:
            if name.startswith("@") and name not in DERIVED:
                raise ConfigError(f"unknown component {name}: use {', '.join(DERIVED)}, or the names of headers")
            is_header = name.startswith("@") or COVERED_HEADER.fullmatch(name)
            if not is_header or name in {"signature", "signature-input"}:
                raise ConfigError(f"{name} cannot be covered: write headers in lower case, divided by blanks")
        if label and not LABEL.fullmatch(label):
            raise ConfigError("label begins with a lower-case letter, and goes on with these, digits and _-.*")
        self.covers_body = True
        self.covers_url = any(parts <= set(self._covered) for parts in WHOLE_URL)
        self.needs_url = any(name.startswith("@") and name != "@method" for name in self._covered)
        super().__init__(secrets, tolerance=tolerance)
        if private_key:
            self._keys.use_private_key(private_key)

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = Keys(secrets, JOSE_NAMES[self._algorithm], SHARED_KEYS[self._key])

    def prepare(self, *, wait: float = 0.0) -> None:
        """Begin to fetch the key sets at URLs."""
        self._keys.prepare(wait=wait)

    # --- verify

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check each signature that may be the partner's; the first good one counts."""
        if self.needs_url and not request.url:
            raise SignatureError("malformed-url", "missing: this scheme signs the URL")
        inputs = read_dictionary(request.one("Signature-Input"), "Signature-Input")
        signatures = read_dictionary(request.one("Signature"), "Signature")
        labels = [label for label in inputs if label in signatures and self._label in ("", label)]
        failed = SignatureError("missing-header", "no signature has the label and an input")
        unavailable: KeyUnavailable | None = None
        for label in labels[:MOST_LABELS]:
            try:
                return self._verify(
                    request, read_input(inputs[label]), read_byte_sequence(signatures[label], "Signature"), now
                )
            except KeyUnavailable as error:
                unavailable = error
            except SignatureError as error:
                failed = error
        raise unavailable or failed

    def _verify(self, request: SignedRequest, given: Input, signature: bytes, now: float) -> Verified:
        names = [name for name, _ in given.components]
        if any(parameters for _, parameters in given.components) or len(set(names)) < len(names):
            raise SignatureError("malformed-header", "a component is covered twice, or has parameters")
        needed = [name for name in self._covered if name != CONTENT_DIGEST or request.body]
        if request.body and CONTENT_DIGEST not in needed:
            needed.append(CONTENT_DIGEST)
        if missing := [name for name in needed if name not in names]:
            raise SignatureError("malformed-header", f"the signature does not cover {' '.join(missing)}")
        created = self._check_parameters(given.parameters, now)
        kid = given.parameters.get("keyid")
        text = signature_base(request, given)
        index = self._keys.verify(text, signature, kid if isinstance(kid, str) else None)
        if CONTENT_DIGEST in names:
            _check_digest(request)
        return Verified(index, created)

    def _check_parameters(self, parameters: Mapping[str, str | int], now: float) -> int:
        """Return when the signature was made; raises `SignatureError` if it is not of now, or not as expected."""
        if parameters.get("alg", self._algorithm) != self._algorithm:
            raise SignatureError("malformed-header", f"the signature's algorithm is not {self._algorithm}")
        if self._tag and parameters.get("tag") != self._tag:
            raise SignatureError("wrong-claim", "the signature's tag is another")
        created, expires = parameters.get("created"), parameters.get("expires")
        if not isinstance(created, int):
            raise SignatureError("malformed-timestamp", "the signature has no time `created`")
        if expires is not None and (not isinstance(expires, int) or not now <= expires):
            raise SignatureError("stale", "the signature has expired (expires)")
        return self._in_time(str(created), now)

    # --- sign

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the headers for a POST without other headers that are covered; raises `ConfigError`."""
        signed = self.sign_request(SignedRequest("POST", url, [], body), now=now, delivery_id=delivery_id)
        return list(signed.headers)

    def sign_request(self, request: SignedRequest, *, now: float, delivery_id: str) -> SignedRequest:
        """Return the request with digest, input and signature; raises `ConfigError`."""
        if self.needs_url and not request.url:
            raise ConfigError("the scheme signs the URL: give one")
        ours = {"signature", "signature-input", CONTENT_DIGEST}
        headers = [pair for pair in request.headers if lower(pair[0]) not in ours]
        digest = write_byte_sequence(hashlib.sha256(request.body).digest())
        request = replace(request, headers=[*headers, ("Content-Digest", f"sha-256={digest}")])
        names = self._covered if CONTENT_DIGEST in self._covered else [*self._covered, CONTENT_DIGEST]
        kid, tag = self._keys.own_kid, self._tag
        text = f"({' '.join(map(write_string, names))});created={int(now)}"
        text += (f";keyid={write_string(kid)}" if kid else "") + f';alg="{self._algorithm}"'
        text += f";tag={write_string(tag)}" if tag else ""
        try:
            signature = self._keys.sign(signature_base(request, read_input(text)))
        except SignatureError as error:
            raise ConfigError(f"the request lacks what is covered: {error}") from error
        label = self._label or "sig1"
        made = [("Signature-Input", f"{label}={text}"), ("Signature", f"{label}={write_byte_sequence(signature)}")]
        return replace(request, headers=[*request.headers, *made])


def signature_base(request: SignedRequest, given: Input) -> bytes:
    """Return the text that is signed (RFC 9421, 2.5); raises `SignatureError` for a component that is not there."""
    lines = [f"{write_string(name)}: {_value(request, name)}" for name, _ in given.components]
    return "\n".join([*lines, f'"@signature-params": {given.text}']).encode("utf-8", "surrogatepass")


def _value(request: SignedRequest, name: str) -> str:
    if name in DERIVED:
        return DERIVED[name](request)
    if name.startswith("@") or name != name.lower() or name in {"signature", "signature-input"}:
        raise SignatureError("malformed-header", "a component is unknown, or not in lower case")
    value = request.one(name).strip(" \t")
    if "\n" in value or "\r" in value:
        raise SignatureError("malformed-header", "a covered header has several lines")
    return value


def _check_digest(request: SignedRequest) -> None:
    given = read_dictionary(request.one("Content-Digest"), "Content-Digest")
    known = [name for name in given if name in CONTENT_DIGESTS]
    if not known:
        raise SignatureError("malformed-header", f"Content-Digest has none of {', '.join(CONTENT_DIGESTS)}")
    for name in known:
        if not same(write_byte_sequence(CONTENT_DIGESTS[name](request.body).digest()), given[name]):
            raise SignatureError("body-mismatch", "the body is not the one of Content-Digest")


def _part(request: SignedRequest, name: str) -> str:
    found = URL.fullmatch(request.url or "")
    if found is None:
        raise SignatureError("malformed-url", "it is not a whole URL")
    return found[name] or ""


def _authority(request: SignedRequest) -> str:
    port = LEFT_OUT_PORTS.get(_part(request, "scheme").lower(), "")
    return _part(request, "authority").lower().removesuffix(port)


DERIVED: Final[Mapping[str, Callable[[SignedRequest], str]]] = {
    "@method": lambda request: request.method,
    "@target-uri": lambda request: request.url,
    "@authority": _authority,
    "@scheme": lambda request: _part(request, "scheme").lower(),
    "@request-target": lambda request: (_part(request, "path") or "/") + _part(request, "query"),
    "@path": lambda request: _part(request, "path") or "/",
    "@query": lambda request: _part(request, "query") or "?",
}
"""The components of a request that are not headers (RFC 9421, 2.2), and how each is read."""
