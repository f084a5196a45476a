"""What the command line says of the options that set up schemes.

It is not on the classes, because `--help` must not import the modules of all schemes.
"""

from __future__ import annotations

from typing import Final

OPTION_HELP: Final[dict[str, str]] = {
    "header": "The signature's header; 'A, B' for several, 'X-Sig-{n}' for numbered ones. jwt: '' for the body.",
    "signature": "Where the signature is, if not in a header: query:NAME or field:PATH of the body.",
    "prefix": "The text before the signature, such as sha256=.",
    "form": "The text in which the signature arrives, such as t={timestamp},v1={signature}.",
    "separator": "What divides several such texts.",
    "encoding": "hex (the default), hex-upper, base64, base64-unpadded, base64-of-hex, base64url, base64url-padded.",
    "algorithm": "sha256 (the default), sha1, sha384 or sha512; of other schemes, such as ES256 or rsa-sha256.",
    "key": "What the secret is: text (the default), base64, base64url, hex, or sha1 or sha256 for its digest.",
    "signed": "What is signed: body (the default), or a template such as {timestamp}.{body}.",
    "timestamp_header": "The timestamp's header.",
    "timestamp": "Where the timestamp is otherwise: query:NAME or field:PATH of the body.",
    "time_unit": "s (unix seconds, the default), ms (milliseconds) or iso (ISO 8601).",
    "id_header": "The header of the delivery's id, for {id}.",
    "audience": "jwt: the claim aud.",
    "issuer": "jwt: the claim iss.",
    "claims": "jwt: other claims, NAME=VALUE joined by commas.",
    "body_hash": "jwt: the claim that holds the SHA-256 of the body.",
    "fresh_by": "jwt: the claim that proves the time, iat (the default), exp, or none.",
    "covered": "http-message-signatures: the components that must be covered, joined by blanks.",
    "tag": "http-message-signatures: the signature's tag.",
    "label": "http-message-signatures: the signature's label.",
    "certificate": "sns, paypal: a certificate in PEM instead of the provider's, for tests.",
}
"""The help of each option, by its name in `Scheme.options`."""

FLAGS: Final = {"header": "--signature-header"}
"""The flags that are not called as their option."""


def flag(option: str) -> str:
    """Return the flag of an option, such as `--time-unit`."""
    return FLAGS.get(option, f"--{option.replace('_', '-')}")
