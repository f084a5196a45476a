"""Forms: the text in which a signature arrives, such as `sha256={signature}` or `t={timestamp},v1={signature}`.

A form with one place is a prefix and a suffix. A form with several places is either named (each place has a name of its
own before it; entries may come in any order, unknown ones are skipped, and several signatures may be given) or
positional (`{timestamp},{signature}`; more signatures may follow if the signature comes last).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from activities.signatures.scheme import MOST_SIGNATURES, ConfigError, SignatureError

MOST_GROUPS: Final = 8
"""Lists with their own timestamp that are checked: each costs one HMAC of the body per key."""

FORM_PLACE: Final = re.compile(r"\{([a-z][a-z0-9_-]*)\}")
FIRST_FIELD: Final = re.compile(r'(?:(.*\s))?([A-Za-z0-9][\w.-]*)([^\w\s"]+"?)')
NEXT_FIELD: Final = re.compile(r'("?)([^A-Za-z0-9"{}]+)([A-Za-z0-9][\w.-]*)([^\w\s"]+"?)')


@dataclass(frozen=True)
class Proof:
    """A timestamp and other values of a header, and the signatures that belong to them."""

    signatures: Sequence[str]
    values: Mapping[str, str] = field(default_factory=dict)


class SignatureForm:
    """The form of a signature's text.

    text: a template with `{signature}`. `{timestamp}` and places of any other name hold values that are signed too, or
    are ignored. separator: what divides several such texts, while keys rotate. Raises `ConfigError`.
    """

    def __init__(self, text: str, separator: str = "") -> None:
        self._separator = separator
        parts = FORM_PLACE.split(text)
        self._texts, self.places = parts[::2], parts[1::2]
        if self.places.count("signature") != 1 or len(set(self.places)) != len(self.places):
            raise ConfigError("invalid form: write {signature} once, and every other place at most once")
        if not text.isascii() or not text.isprintable() or any("{" in part or "}" in part for part in self._texts):
            raise ConfigError("invalid form: use printable ASCII characters and places such as {signature}")
        self._inner, self._entries = "", list[tuple[str, str]]()
        self._lead, self._tail = self._texts[0], self._texts[-1]
        if len(self.places) > 1:
            self._read_texts()
        if separator and separator.strip() == self._inner.strip() and len(self.places) > 1:
            raise ConfigError("invalid separator: use another character than the one between the fields of form")

    @property
    def others(self) -> list[str]:
        """The places other than the signature and the timestamp."""
        return [place for place in self.places if place not in {"signature", "timestamp"}]

    @property
    def names(self) -> list[str]:
        """The text before each place of a named form, such as `v1=`; without a named form, the text before."""
        return [before for before, _ in self._entries] or [self._lead]

    def write(self, values: Mapping[str, str]) -> str:
        """Write the text with these values of the places."""
        text = self._texts[0]
        for place, after in zip(self.places, self._texts[1:], strict=True):
            text += values[place] + after
        return text

    def read(self, text: str) -> Iterator[Proof]:
        """Yield what the text says, of a form with several places; raises `SignatureError` if nothing has the form."""
        malformed: SignatureError | None = None
        read = []
        for part in self._split(text, MOST_GROUPS):
            try:
                read.append(self._named(part) if self._entries else self._positional(part))
            except SignatureError as error:
                malformed = error
        if malformed and not read:
            raise malformed
        yield from read

    def bare(self, text: str) -> list[str]:
        """Return the signatures in the text, of a form with no other place."""
        parts = self._split(text, MOST_SIGNATURES) if self._separator else [text]
        return [one for part in parts if (one := self._bare(part)) is not None]

    def _split(self, text: str, most: int) -> list[str]:
        if not self._separator:
            return [text]
        return _split(text, self._separator)[:most]

    def _bare(self, text: str) -> str | None:
        rest = text.removeprefix(self._lead)
        if self._lead and len(rest) == len(text):
            return None
        found = rest.removesuffix(self._tail)
        return None if self._tail and len(found) == len(rest) else found

    def _named(self, text: str) -> Proof:
        if not text.startswith(self._lead):
            raise SignatureError("malformed-header", f"it does not begin with `{self._lead}`")
        found: dict[str, list[str]] = {place: [] for place in self.places}
        for entry in _split(text[len(self._lead) :], self._inner)[:MOST_SIGNATURES]:
            for place, (before, after) in zip(self.places, self._entries, strict=True):
                if entry.startswith(before) and entry.endswith(after) and len(entry) >= len(before) + len(after):
                    found[place].append(entry[len(before) : len(entry) - len(after)])
                    break
        for place, values in found.items():
            if place != "signature" and len(values) != 1:
                before = self.names[self.places.index(place)]
                raise SignatureError("malformed-header", f"{before} is given {len(values)} times")
        signatures = found.pop("signature")
        return Proof(signatures, {place: values[0] for place, values in found.items()})

    def _positional(self, text: str) -> Proof:
        bare = self._bare(text)
        parts = _split(bare, self._inner) if bare is not None else []
        wanted = len(self.places)
        if len(parts) < wanted or (len(parts) > wanted and self.places[-1] != "signature"):
            raise SignatureError("malformed-header", f"it has {len(parts)} parts, and {wanted} are expected")
        pairs = zip(self.places, parts, strict=False)
        values = {place: part for place, part in pairs if place != "signature"}
        at = self.places.index("signature")
        return Proof(parts[at : at + 1] if at < wanted - 1 else parts[at : at + MOST_SIGNATURES], values)

    def _read_texts(self) -> None:
        """Find what divides the places, and the name before each."""
        between = self._texts[1:-1]
        found = [NEXT_FIELD.fullmatch(text) for text in between]
        first = FIRST_FIELD.fullmatch(self._texts[0])
        if first and all(found):
            matches = [one for one in found if one]
            befores = [first[2] + first[3], *(one[3] + one[4] for one in matches)]
            afters = [*(one[1] for one in matches), self._tail]
            pairs, inners = list(zip(befores, afters, strict=True)), {one[2] for one in matches}
            if len(inners) > 1 or any(before.endswith('"') != (after == '"') for before, after in pairs):
                raise ConfigError("invalid form: write the same between all fields, and close every quotation mark")
            self._lead, self._inner, self._entries = first[1] or "", inners.pop(), pairs
            return
        if len(set(between)) != 1 or not between[0] or re.search(r"[A-Za-z0-9]", between[0]):
            raise ConfigError("invalid form: write it like t={timestamp},v1={signature} or {timestamp},{signature}")
        self._inner = between[0]


def _split(text: str, separator: str) -> list[str]:
    """Split at the separator. Blanks after it are dropped."""
    bare = separator.strip()
    if not bare:
        return text.split(" ")
    first, *others = text.split(bare)
    return [first, *(part.lstrip(" ") for part in others)]
