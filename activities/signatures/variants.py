"""Variants: other options with which a request might verify, for a diagnosis. For people at a terminal only."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, product
from typing import Final

from activities.signatures.encodings import ALGORITHMS, ENCODINGS, KEYS
from activities.signatures.forms import SignatureForm
from activities.signatures.hmac_options import Options
from activities.signatures.scheme import ConfigError
from activities.signatures.times import TIME_UNITS

WITHOUT_TIME: Final = ("body", "{url}{body}", "{body}{url}", "{method}{url}{body}", "{secret}{body}")
WITH_TIME: Final = (
    "{timestamp}.{body}",
    "{timestamp}{body}",
    "{timestamp}:{body}",
    "v0:{timestamp}:{body}",
    "v1:{timestamp}:{body}",
    "v1.{timestamp}.{body}",
    "{body}{timestamp}",
    "{body}.{timestamp}",
    "{method}{url}{body}{timestamp}",
)
"""The templates that are common. Those with a timestamp are tried where one is read."""

STEP_OF_OPTION: Final = {"time_unit": "time", "key": "key", "signed": "bytes", "algorithm": "bytes"}
"""The step of a verification that an option belongs to; that of the others is the header."""

PAIRED: Final = ("time_unit", "encoding", "key", "signed", "form", "prefix")
"""Options of which two at once are tried."""

ENTRY: Final = re.compile(r"(?:^|[,;&\s])([A-Za-z][\w.-]{0,30})=")
MOST_NAMES: Final = 8
BEFORE_SIGNATURE: Final = re.compile(r"[ -~]{0,40}?[=:, ](?=[A-Za-z0-9+/_-]{16})")
BETWEEN_FIELDS: Final = (",", ";", "&", " ")


def variants(
    options: Options,
    texts: Sequence[str],
    *,
    algorithms: Sequence[str] = tuple(ALGORITHMS),
    encodings: Sequence[str] = tuple(ENCODINGS),
    keys: Sequence[str] = tuple(KEYS),
) -> Iterator[dict[str, str]]:
    """Yield changes of one option, then of two. texts: of the request's signature headers.

    algorithms, encodings, keys: the values that the scheme takes for these options.
    """
    every: dict[str, list[str]] = {
        "time_unit": list(TIME_UNITS),
        "encoding": list(encodings),
        "key": list(keys),
        "signed": list(WITH_TIME if _is_timed(options) else WITHOUT_TIME),
        "algorithm": list(algorithms),
        "form": list(_forms(options, texts)),
        "prefix": [] if options.form else list(_prefixes(texts)),
        "separator": [",", " "],
    }
    if not _is_timed(options):
        del every["time_unit"]
    others = {name: [value for value in values if value != getattr(options, name)] for name, values in every.items()}
    for name, values in others.items():
        yield from ({name: value} for value in values)
    pairs = combinations([name for name in PAIRED if name in others], 2)
    for first, second in pairs:
        for one, other in product(others[first], others[second]):
            both: dict[str, str] = {first: one, second: other}
            yield both


def changed(options: Options, changes: dict[str, str]) -> Options:
    """Return the options with the changes. A form takes the place of a prefix."""
    return replace(options, **({**changes, "prefix": ""} if "form" in changes else changes))


def written(changes: dict[str, str]) -> str:
    """Write the changes as a partner's file has them."""
    return ", ".join(f'{name}="{value}"' for name, value in changes.items())


def _is_timed(options: Options) -> bool:
    return bool(options.timestamp_header or options.timestamp or "{timestamp}" in options.form)


def _forms(options: Options, texts: Sequence[str]) -> Iterator[str]:
    """Yield the form with other names, which the request's header has."""
    form = options.form or options.prefix + "{signature}"
    try:
        own = SignatureForm(form).names
    except ConfigError:
        return
    given = list(dict.fromkeys(name for text in texts for name in ENTRY.findall(text)))[:MOST_NAMES]
    for before, name in product(own, given):
        if before and f"{name}=" not in own and before.rstrip("=") != name:
            yield form.replace(f"{before}{{", f"{name}={{", 1)
    for between in BETWEEN_FIELDS:
        yield re.sub(r"(?<=\})\s*[^\w\s{}\"]?\s*(?=[A-Za-z{])", between, form)


def _prefixes(texts: Sequence[str]) -> Iterator[str]:
    """Yield no prefix, and the text before what may be a signature, such as `sha256=`."""
    yield ""
    yield from dict.fromkeys(found[0] for text in texts if (found := BEFORE_SIGNATURE.match(text)))
