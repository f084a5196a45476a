"""How strong a secret is: whether it can be guessed by its length, its pattern or its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

SHORTEST_SECRET: Final = 8
"""Characters of a partner's secret, at least. Shorter ones are tried out in hours from a single signed request."""

SHORTEST_KEY: Final = 32
"""Bytes of a callback key, at least."""

FEWEST_CHARACTERS: Final = 10
"""Different characters in a callback key; a random one of the shortest length practically always has more."""

FEWEST_FREE: Final = 20
"""Characters of a callback key that do not follow from those before; of 20,000 random keys none has less than 22."""

SHORTEST_PATTERN: Final = 3
"""Characters, or steps between characters, that are a pattern if they occur a second time."""

WORD_COUNTS: Final = 2
"""Characters that a word counts as: one of some thousands."""

ROWS: Final = "1234567890qwertyuiopasdfghjklzxcvbnm"
COLUMNS: Final = "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p"
DIVIDED: Final = re.compile(r"(?<![^\W_])(?:[a-z]{2,}|[A-Z]{2,}|[A-Z][a-z]+|[0-9]{1,4})(?![^\W_])")
"""Words, and small numbers, between hyphens and the like."""

MOST_BY_CHANCE: Final = 2
"""Random keys have hyphens too, and sometimes what looks like a word between two."""

LEET: Final = str.maketrans("0134578@$", "oleastbas")
COMMON: Final = re.compile(
    "authentication|authorization|application|placeholder|production|development|characters|stagehook|changeme|callback|"
    "password|internal|minimum|pipeline|partner|private|service|signing|replace|default|example|generate|staging|testing|"
    "webhook|company|string|please|random|secret|sample|secure|server|strong|change|should|really|admin|hello|local|must|"
    "super|token|value|world|least|never|nobody|guess|here|this|that|very|long|pass|test|with|your|dont|have|from|key|for|"
    "the|and|not|you|our|api|app|dev"
)
"""Words that keys made by hand consist of, also where nothing divides them."""


def is_short(secret: str) -> bool:
    """Whether a partner's secret is too short to be one."""
    return len(secret) < SHORTEST_SECRET


def is_weak_key(key: str) -> bool:
    """Whether a callback key is too short, or has too few different characters."""
    return len(key.encode()) < SHORTEST_KEY or len(set(key)) < FEWEST_CHARACTERS


def is_patterned_key(key: str) -> bool:
    """Whether a callback key was made by hand: of repeated parts, sequences, rows of a keyboard, or words.

    The characters are counted that do not follow from those before. `secrets.token_urlsafe(32)` has some 43 of them,
    `0123456789abcdef0123456789abcdef` 3, `a-key-of-at-least-32-characters-0123` 16.
    """
    return count_free(key) < FEWEST_FREE


def count_free(key: str) -> int:
    """Count the characters of a key that do not follow from those before; a word counts as two."""
    points = [ord(character) for character in key]
    follows = _repeats(points)
    for view in (points, _places(key, ROWS), _places(key, COLUMNS)):
        steps = [after - before for before, after in pairwise(view)]
        follows = [a or b for a, b in zip(follows, [False, *_repeats(steps)], strict=True)]
    for begin, end in _words(key):
        follows[begin + WORD_COUNTS : end] = [True] * len(follows[begin + WORD_COUNTS : end])
    return follows.count(False)


def _words(key: str) -> Iterator[tuple[int, int]]:
    """Where words begin and end; with the character that divides them from the next, if there are several."""
    yield from (found.span() for found in COMMON.finditer(key.lower().translate(LEET)))
    divided = [found.span() for found in DIVIDED.finditer(key)]
    if len(divided) > MOST_BY_CHANCE:
        yield from ((begin, end + 1) for begin, end in divided)


def _repeats(values: Sequence[int]) -> list[bool]:
    """Which values belong to a run that has occurred before; the two may overlap."""
    found = [False] * len(values)
    known: set[tuple[int, ...]] = set()
    for place in range(len(values) - SHORTEST_PATTERN + 1):
        run = tuple(values[place : place + SHORTEST_PATTERN])
        if run in known:
            found[place : place + SHORTEST_PATTERN] = [True] * SHORTEST_PATTERN
        known.add(run)
    return found


def _places(key: str, keyboard: str) -> list[int]:
    """Where each character lies on the keyboard; what lies elsewhere is far from everything, itself included."""
    return [
        keyboard.find(character) if character in keyboard else 1000 * place**2
        for place, character in enumerate(key.lower(), start=1)
    ]
