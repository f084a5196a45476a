"""The options of HMAC schemes, and the providers that have a name of their own: rows of such options."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Final

from activities.environment import is_text
from activities.signatures.encodings import ALGORITHMS, ENCODINGS, KEYS
from activities.signatures.places import HEADER_NAME, ValuePlace
from activities.signatures.scheme import ConfigError, check_choice, lower
from activities.signatures.times import TIME_UNITS

NUMBER_PLACE: Final = "{n}"
"""The place of the number in the name of a numbered header."""

MOST_KEY_HEADERS: Final = 8


@dataclass(frozen=True)
class Options:
    """How a provider applies HMAC. All are texts.

    header: the name of the signature's header. `A, B`: each key has a header, of which some may be missing.
        `X-Sig-{n}`: the headers are numbered from 1.
    signature: where the signature is, if not in a header: `query:NAME`, or `field:PATH` of the body.
    prefix: the text before the signature, such as `sha256=`. The same as form `sha256={signature}`.
    form: the whole text in which the signature arrives, such as `t={timestamp},v1={signature}`.
    separator: what divides several such texts while a key is replaced, such as `,`.
    encoding: how the signature is written: one of `ENCODINGS`.
    algorithm: sha1, sha256, sha384 or sha512.
    key: how the key comes from the secret: one of `KEYS`.
    signed: `body`, or a template of the signed text. With `{secret}` in it, the signature is a plain digest.
    timestamp_header: the timestamp's header.
    timestamp: where the timestamp is, if neither there nor in the form: `query:NAME`, or `field:PATH` of the body.
    time_unit: s, ms or iso.
    id_header: the header with the delivery's id, for `{id}` in the template.
    """

    header: str = ""
    signature: str = ""
    prefix: str = ""
    form: str = ""
    separator: str = ""
    encoding: str = "hex"
    algorithm: str = "sha256"
    key: str = "text"
    signed: str = "body"
    timestamp_header: str = ""
    timestamp: str = ""
    time_unit: str = "s"
    id_header: str = ""


@dataclass(frozen=True)
class Row:
    """A provider with a name of its own.

    says: the name of an optional header that names the method, and the only value it may have. key_bytes: the number of
    bytes of a key, 0 for any.
    """

    options: Options
    says: tuple[str, str] | None = None
    key_bytes: int = 0
    note: str = ""


UNTIMED: Final = "Signs no timestamp: a captured request stays valid, so only what it does may not be done twice."
UNDIVIDED: Final = "Nothing divides the URL from the body: the start of the body could be moved to the end of a query."
STRIPE_FORM: Final = "t={timestamp},v1={signature}"

ROWS: Final[dict[str, Row]] = {
    "github": Row(Options("X-Hub-Signature-256", prefix="sha256="), note=UNTIMED),
    "stripe": Row(Options("Stripe-Signature", form=STRIPE_FORM, signed="{timestamp}.{body}")),
    "slack": Row(
        Options(
            "X-Slack-Signature",
            prefix="v0=",
            signed="v0:{timestamp}:{body}",
            timestamp_header="X-Slack-Request-Timestamp",
        )
    ),
    "shopify": Row(Options("X-Shopify-Hmac-SHA256", encoding="base64"), note=UNTIMED),
    "square": Row(
        Options("x-square-hmacsha256-signature", encoding="base64", signed="{url}{body}"), note=f"{UNTIMED} {UNDIVIDED}"
    ),
    "zoom": Row(
        Options(
            "x-zm-signature", prefix="v0=", signed="v0:{timestamp}:{body}", timestamp_header="x-zm-request-timestamp"
        )
    ),
    "docusign": Row(
        Options("X-DocuSign-Signature-{n}", encoding="base64"),
        says=("X-Authorization-Digest", "HMACSHA256"),
        note=UNTIMED,
    ),
    "persona": Row(Options("Persona-Signature", form=STRIPE_FORM, separator=" ", signed="{timestamp}.{body}")),
    "onfido": Row(Options("X-SHA2-Signature"), note=UNTIMED),
    "paddle": Row(Options("Paddle-Signature", form="ts={timestamp};h1={signature}", signed="{timestamp}:{body}")),
    "adyen-platform": Row(Options("HmacSignature", encoding="base64", key="hex"), key_bytes=32, note=UNTIMED),
}


def check_words(options: Options) -> None:
    """Check the words that only an HMAC knows; raises `ConfigError`."""
    for name, known in (("algorithm", ALGORITHMS), ("encoding", ENCODINGS), ("key", KEYS)):
        check_choice(name, getattr(options, name), known)


def check_places(options: Options) -> None:
    """Check what says where something is: each option on its own, and those that exclude each other.

    Raises `ConfigError`.
    """
    if not all(isinstance(option, str) and is_text(option) for option in asdict(options).values()):
        raise ConfigError("invalid option: use text for every option except tolerance")
    check_choice("time_unit", options.time_unit, TIME_UNITS)
    for name, other in (("header", "signature"), ("prefix", "form"), ("timestamp", "timestamp_header")):
        if getattr(options, name) and getattr(options, other):
            raise ConfigError(f"{name} and {other} are both given: use one")
    if not options.header and not options.signature:
        raise ConfigError("header is missing: name the header that holds the signature, or its place with signature")
    _check_texts(options)


def _check_texts(options: Options) -> None:
    for name in ("prefix", "separator"):
        if re.fullmatch(r"[\x20-\x7e]*", getattr(options, name)) is None or "{" in getattr(options, name):
            raise ConfigError(f"invalid {name}: use printable ASCII characters without braces")
    own = list(map(lower, header_names(options.header)))
    for name in ("timestamp_header", "id_header"):
        value = getattr(options, name)
        if value and (not HEADER_NAME.fullmatch(value) or lower(value) in own):
            raise ConfigError(f"invalid {name}: use the name of a header that does not hold the signature")


def header_names(header: str) -> list[str]:
    """Return the names of the signature's headers; raises `ConfigError`."""
    names = [name.strip() for name in header.split(",")] if header else []
    if len(names) > MOST_KEY_HEADERS or len(set(map(lower, names))) < len(names):
        raise ConfigError(f"invalid header: name at most {MOST_KEY_HEADERS} headers, each one once")
    if any(NUMBER_PLACE in name for name in names) and len(names) > 1:
        raise ConfigError("invalid header: a name with {n} must be the only one")
    if not all(HEADER_NAME.fullmatch(name.replace(NUMBER_PLACE, "1", 1)) for name in names):
        raise ConfigError("header is missing or invalid: name the header that holds the signature")
    return names


def time_place(options: Options) -> ValuePlace | None:
    """Return where the timestamp is, unless it is in the signature's form; raises `ConfigError`."""
    if options.timestamp_header:
        return ValuePlace.of(f"header:{options.timestamp_header}")
    return ValuePlace.of(options.timestamp) if options.timestamp else None
