"""Twilio: HMAC-SHA1 of the public URL and the form's fields sorted by name, in base64.

A JSON body is covered by its SHA-256 in the URL's query instead (`bodySHA256`). A form's fields are joined without
separators. So the signature does not cover where a name ends and its value begins, the order of the fields, which
characters are escaped, and how often a pair is repeated. There is no timestamp, so a captured request stays valid: make
sure that its effect cannot happen twice.
"""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import Self
from urllib.parse import parse_qs, parse_qsl, urlsplit

from activities.signatures.scheme import (
    ConfigError,
    Scheme,
    SignatureError,
    SignedRequest,
    Verified,
    first_match,
    hmac_key,
    same,
)

HEADER = "X-Twilio-Signature"
FORM_TYPE = "application/x-www-form-urlencoded"
MOST_FORM_FIELDS = 1000
LARGEST_FORM = 128 * 1024
"""Bytes. Twilio's forms have a few kilobytes. A form is decoded before it is proven, so larger ones are rejected."""

ESCAPED = re.compile(rb"%(?![0-9A-F]{2})")
"""A `%` without two upper-case hex digits, which forms do not use: `%3a` and `%3A` would be the same field."""

WRITTEN_FORM = re.compile(rb"(?:[A-Za-z0-9*._~+=&-]|%[0-9A-F]{2})*")
"""The characters and escapes of a form (application/x-www-form-urlencoded)."""

PORT = re.compile(r":[0-9]*$")
DEFAULT_PORTS = {"https": 443, "http": 80}


class Twilio(Scheme):
    """Twilio's request signature, of forms and of JSON. The URL is signed as it was given to Twilio.

    A JSON body is covered by `bodySHA256` in the URL. A form's fields are covered, but not their order, where a name
    ends, which characters are escaped, and how often a pair is repeated. There is no timestamp, so a captured request
    stays valid: make sure that its effect cannot happen twice.
    """

    name = "twilio"
    covers_url = True
    needs_url = True
    header = HEADER
    signing_advice = "give --url, one with ?bodySHA256= and the body's SHA-256 unless the body is a form"
    sample_secret = ""

    def _read_secrets(self, secrets: Sequence[str]) -> None:
        self._keys = [hmac_key(secret.encode()) for secret in secrets]

    def verify(self, request: SignedRequest, now: float) -> Verified:
        """Check the signature over the URL with and without its port: Twilio may sign either."""
        signature = request.one(HEADER)
        fields = _covered(request)
        signed = [_original_bytes(url) + fields for url in _spellings(request.url)]
        expected = [_mac(key, text) for key in self._keys for text in signed]
        index = first_match(expected, [signature])
        if index is None:
            raise SignatureError("mismatch", "the signature is by none of our keys")
        return Verified(index // len(signed))

    def sign(self, body: bytes, *, url: str, now: float, delivery_id: str) -> list[tuple[str, str]]:
        """Return the header for a form, or for any other body if the URL has its `bodySHA256`.

        Raises `ConfigError` for a body that is neither.
        """
        if not url:
            raise ConfigError("the scheme signs the URL: give one")
        try:
            _spellings(url)
            covered = bool(_body_digest(url))
            fields = b"" if covered else _unique_fields(body)
        except SignatureError as error:
            raise ConfigError(str(error)) from error
        if not covered and not WRITTEN_FORM.fullmatch(body):
            raise ConfigError("a body that is not a form is covered only by bodySHA256 in the URL")
        return [(HEADER, _mac(self._keys[0], _original_bytes(url) + fields))]

    def with_key(self, key: bytes) -> Self:
        """Return the same scheme with `key` as its only key. Any bytes can be a key."""
        other = copy.copy(self)
        other._keys = [key]
        return other


def _covered(request: SignedRequest) -> bytes:
    """Return the signed text after the URL; raises `SignatureError` for a body that the signature does not cover."""
    if digest := _body_digest(request.url):
        if not same(hashlib.sha256(request.body).hexdigest(), digest):
            raise SignatureError("body-mismatch", "bodySHA256 is another body's")
        return b""
    if _has_other_type(request):
        raise SignatureError("malformed-body", "neither a form nor covered by bodySHA256")
    return _unique_fields(request.body)


def signed_fields(request: SignedRequest, *, hidden: str = "", between: str = "", joined_by: str = "") -> bytes:
    """Return a form's fields as they are signed: name and value of each, sorted by name; raises `SignatureError`.

    The values of a repeated name keep their number and order. hidden: a field that is left out. between: the text
    between a name and its value. joined_by: that between fields.
    """
    if _has_other_type(request):
        raise SignatureError("malformed-body", "not a form: its Content-Type is another")
    fields = _read_form(request.body)
    pairs = [(name, value) for name in sorted(fields) if name != hidden for value in fields[name]]
    if joined_by and any(between in name or joined_by in name + value for name, value in pairs):
        raise SignatureError("malformed-body", "a field has the character that ends it in the signed text")
    return _original_bytes(joined_by.join(f"{name}{between}{value}" for name, value in pairs))


def _has_other_type(request: SignedRequest) -> bool:
    types = [value.partition(";")[0].strip().lower() for value in request.all("content-type")]
    return bool(request.body) and any(one != FORM_TYPE for one in types)


def _body_digest(url: str) -> str:
    fields = parse_qsl((url or "").partition("?")[2], keep_blank_values=True)
    found = [value for name, value in fields if name == "bodySHA256"]
    if len(found) > 1:
        raise SignatureError("malformed-url", "bodySHA256 is given more than once")
    if found == [""]:
        raise SignatureError("malformed-url", "bodySHA256 is empty")
    # URL and fields are signed without a separator, so a forger can move the fields of a signed form into the query. If
    # the forger chose the value of a field, such as `&bodySHA256=...`, that digest would cover another body. Twilio
    # puts its digest last; a forged digest is last only if the forger chose the value of the very last field.
    if found and fields[-1][0] != "bodySHA256":
        raise SignatureError("malformed-url", "bodySHA256 is not the last field")
    return found[0] if found else ""


def _unique_fields(body: bytes) -> bytes:
    """Return the fields as Twilio signs them: sorted by name and value, without repeated pairs."""
    fields = _read_form(body)
    pairs = [(name, value) for name in sorted(fields) for value in sorted(set(fields[name]))]
    return _original_bytes("".join(f"{name}{value}" for name, value in pairs))


def _read_form(body: bytes) -> dict[str, list[str]]:
    if len(body) > LARGEST_FORM:
        raise SignatureError("malformed-body", f"a form of more than {LARGEST_FORM} bytes")
    if ESCAPED.search(body):
        raise SignatureError("malformed-body", "an escape that is not a percent sign and two digits or capitals A to F")
    try:
        text = body.decode("utf-8", "surrogateescape")
        return parse_qs(text, keep_blank_values=True, max_num_fields=MOST_FORM_FIELDS, errors="surrogateescape")
    except ValueError as error:
        raise SignatureError("malformed-body", "not a form") from error


def _spellings(url: str) -> list[str]:
    """Return the URL without its port, and with it: its explicit port, or its scheme's default."""
    try:
        parts = urlsplit(url)
        port = parts.port or DEFAULT_PORTS.get(parts.scheme)
    except ValueError as error:
        raise SignatureError("malformed-url") from error
    if not url or port is None or not parts.netloc:
        raise SignatureError("malformed-url", "no absolute http or https URL")
    head, _, rest = url.partition(f"//{parts.netloc}")
    host = PORT.sub("", parts.netloc)
    return [f"{head}//{host}{rest}", f"{head}//{host}:{port}{rest}"]


def _mac(key: bytes, signed: bytes) -> str:
    return base64.b64encode(hmac.digest(key, signed, "sha1")).decode()


def _original_bytes(text: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # A surrogate that no byte was decoded to.
        return text.encode("utf-8", "surrogatepass")
