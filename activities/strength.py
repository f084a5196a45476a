"""The strength of secrets: whether a secret can be guessed from its length, its patterns or its words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

SHORTEST_SECRET: Final = 8
"""Minimum characters of a partner's secret. From one signed request, a shorter secret can be found in hours."""

SHORTEST_CALLBACK_KEY: Final = 32
"""Minimum bytes of a callback key."""

FEWEST_CHARACTERS: Final = 10
"""Minimum different characters of a callback key. A random key of the minimum length practically always has more."""

FEWEST_FREE: Final = 20
"""Minimum free characters of a callback key; see `count_free`. Of 20,000 random keys, none has fewer than 22."""

SHORTEST_PATTERN: Final = 3
"""Minimum characters, or steps between characters, that are a pattern if they occur again."""

WORD_COUNTS: Final = 2
"""Free characters that a word counts as, because it is one of a few thousand words."""

KEYBOARD_ROWS: Final = "1234567890qwertyuiopasdfghjklzxcvbnm"
KEYBOARD_COLUMNS: Final = "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol0p"
DIVIDED: Final = re.compile(r"(?<![^\W_])(?:[a-z]{2,}|[A-Z]{2,}|[A-Z][a-z]+|[0-9]{1,4})(?![^\W_])")
"""Matches words and small numbers between separators such as hyphens."""

MOST_BY_CHANCE: Final = 2
"""Maximum separated words that are ignored: random keys have hyphens too, sometimes with a word-like part between."""

LEET: Final = str.maketrans("0134578@$", "oleastbas")
COMMON: Final = re.compile(
    "authentication|authorization|application|placeholder|production|development|characters|stagehook|changeme|callback|"
    "password|internal|minimum|pipeline|partner|private|service|signing|replace|default|example|generate|staging|testing|"
    "webhook|company|string|please|random|secret|sample|secure|server|strong|change|should|really|admin|hello|local|must|"
    "super|token|value|world|least|never|nobody|guess|here|this|that|very|long|pass|test|with|your|dont|have|from|key|for|"
    "the|and|not|you|our|api|app|dev"
)
"""Matches words that occur in keys made by hand, with or without separators."""


def is_short(secret: str) -> bool:
    """Whether a partner's secret is too short."""
    return len(secret) < SHORTEST_SECRET


def is_weak_key(key: str) -> bool:
    """Whether a callback key is too short or has too few different characters."""
    return len(key.encode()) < SHORTEST_CALLBACK_KEY or len(set(key)) < FEWEST_CHARACTERS


def is_patterned_key(key: str) -> bool:
    """Whether a callback key was made by hand, from repeated parts, sequences, keyboard rows or words.

    Such a key has few free characters. `secrets.token_urlsafe(32)` has about 43, `0123456789abcdef0123456789abcdef` has
    3, and `a-key-of-at-least-32-characters-0123` has 16.
    """
    return count_free(key) < FEWEST_FREE


def count_free(key: str) -> int:
    """Count the free characters of a key: those that do not follow from earlier characters. A word counts as two."""
    points = [ord(character) for character in key]
    follows = _repeats(points)
    for view in (points, _places(key, KEYBOARD_ROWS), _places(key, KEYBOARD_COLUMNS)):
        steps = [after - before for before, after in pairwise(view)]
        follows = [a or b for a, b in zip(follows, [False, *_repeats(steps)], strict=True)]
    for begin, end in _words(key):
        follows[begin + WORD_COUNTS : end] = [True] * len(follows[begin + WORD_COUNTS : end])
    return follows.count(False)


def _words(key: str) -> Iterator[tuple[int, int]]:
    """Yield the start and end of words. Separated words include the separator after them."""
    yield from (found.span() for found in COMMON.finditer(key.lower().translate(LEET)))
    divided = [found.span() for found in DIVIDED.finditer(key)]
    if len(divided) > MOST_BY_CHANCE:
        yield from ((begin, end + 1) for begin, end in divided)


def _repeats(values: Sequence[int]) -> list[bool]:
    """Mark the values in a run that has occurred before; the two runs may overlap."""
    found = [False] * len(values)
    known: set[tuple[int, ...]] = set()
    for place in range(len(values) - SHORTEST_PATTERN + 1):
        run = tuple(values[place : place + SHORTEST_PATTERN])
        if run in known:
            found[place : place + SHORTEST_PATTERN] = [True] * SHORTEST_PATTERN
        known.add(run)
    return found


def _places(key: str, keyboard: str) -> list[int]:
    """Each character's place on the keyboard. Other characters get places far from everything, even their equals."""
    return [
        keyboard.find(character) if character in keyboard else 1000 * place**2
        for place, character in enumerate(key.lower(), start=1)
    ]
