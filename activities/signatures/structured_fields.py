"""The parts of Structured Fields (RFC 9651) that HTTP Message Signatures are written in, read strictly.

What these readers take is in its canonical form already, so its text can be signed as it was received.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from activities.signatures.scheme import SignatureError, decode_base64

KEY: Final = r"[a-z*][a-z0-9_.*-]*"
STRING: Final = r'"(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*"'
BYTES: Final = r":[A-Za-z0-9+/]*={0,2}:"
VALUE: Final = rf"(?:{STRING}|-?[0-9]{{1,15}}|{BYTES}|\?[01]|[A-Za-z*][A-Za-z0-9!#$%&'*+.^_`|~:/-]*)"
FIELD_PARAMETERS: Final = rf"(?:;{KEY}(?:={VALUE})?)*"
ITEM: Final = rf"{STRING}{FIELD_PARAMETERS}"

INNER_LIST: Final = re.compile(rf"\((?:({ITEM}(?: {ITEM})*))?\)({FIELD_PARAMETERS})")
ONE_ITEM: Final = re.compile(rf"({STRING})({FIELD_PARAMETERS})")
ONE_PARAMETER: Final = re.compile(rf";({KEY})(?:=({VALUE}))?")
MEMBER: Final = re.compile(rf"({KEY})=({BYTES}|\((?:{ITEM}(?: {ITEM})*)?\)){FIELD_PARAMETERS}")
SEPARATOR: Final = re.compile(r"[ \t]*,[ \t]*")

MOST_MEMBERS: Final = 16
LONGEST_FIELD: Final = 8 * 1024


@dataclass(frozen=True)
class Input:
    """A member of Signature-Input.

    text: as it is signed. components: the covered ones, each with its name and its parameters as they are written.
    parameters: of the signature; strings without their quotation marks.
    """

    text: str
    components: tuple[tuple[str, str], ...]
    parameters: dict[str, str | int]


def read_dictionary(text: str, header: str) -> dict[str, str]:
    """Return the members of a dictionary by key, each as it is written; raises `SignatureError`."""
    members: dict[str, str] = {}
    at = 0
    while len(text) <= LONGEST_FIELD and len(members) < MOST_MEMBERS and (found := MEMBER.match(text, at)):
        if found[1] in members:
            break
        members[found[1]] = found[0][len(found[1]) + 1 :]
        if found.end() == len(text):
            return members
        if (separator := SEPARATOR.match(text, found.end())) is None:
            break
        at = separator.end()
    raise SignatureError("malformed-header", f"{header} is not a dictionary of structured fields")


def read_byte_sequence(text: str, header: str) -> bytes:
    """Return the bytes of a byte sequence; raises `SignatureError`."""
    try:
        if re.fullmatch(BYTES, text):
            return decode_base64(text[1:-1])
    except ValueError:
        pass
    raise SignatureError("malformed-header", f"{header} does not hold bytes in base64 between colons")


def write_byte_sequence(raw: bytes) -> str:
    """Write a byte sequence."""
    return f":{base64.b64encode(raw).decode()}:"


def read_input(text: str) -> Input:
    """Read a member of Signature-Input; raises `SignatureError`."""
    if (found := INNER_LIST.fullmatch(text)) is None:
        raise SignatureError("malformed-header", "Signature-Input is not a list of components with parameters")
    components = tuple((unquoted(name), parameters) for name, parameters in ONE_ITEM.findall(found[1] or ""))
    parameters: dict[str, str | int] = {}
    for name, value in _parameters(found[2]):
        if name in parameters:
            raise SignatureError("malformed-header", f"Signature-Input has {name} twice")
        parameters[name] = value
    return Input(text, components, parameters)


def unquoted(text: str) -> str:
    """Return the content of a string."""
    return re.sub(r"\\(.)", r"\1", text[1:-1])


def write_string(text: str) -> str:
    """Write a string."""
    return '"' + re.sub(r'(["\\])', r"\\\1", text) + '"'


def _parameters(text: str) -> Iterator[tuple[str, str | int]]:
    for name, value in ONE_PARAMETER.findall(text):
        if value.startswith('"'):
            yield name, unquoted(value)
        elif re.fullmatch(r"-?[0-9]+", value):
            yield name, int(value)
        else:
            yield name, value
