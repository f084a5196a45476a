"""Escaping: untrusted text without the characters that control a terminal, or make text look like another text."""

from __future__ import annotations

import json
import re
from typing import Final

CONTROLS: Final = re.compile(
    # C0 except tab and line feed, DEL and C1; direction marks; line separators; lone surrogates; tags.
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u206f\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
"""Characters that control a terminal, or make it show something other than the text."""


def printable(text: str) -> str:
    """Escape every invisible character of an untrusted text, for a single line: `\\x1b`, `\\n`, `\\u202e`."""
    return "".join(one if one.isprintable() else _escape(one) for one in text)


def escaped(text: str) -> str:
    """Escape the control characters of a text of several lines; tabs and line feeds stay."""
    return CONTROLS.sub(lambda found: _escape(found[0]), text)


def escaped_json(document: str) -> str:
    """Replace control characters in a JSON document by JSON escapes such as `\\u009b`; its meaning stays the same."""
    return CONTROLS.sub(lambda found: json.dumps(found[0])[1:-1].replace("\x7f", "\\u007f"), document)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()
