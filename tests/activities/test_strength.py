"""Strength: which callback keys can be guessed, and that no random one is ever taken for such a key."""

from __future__ import annotations

import base64
import random
import re
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from activities.strength import FEWEST_FREE, count_free, is_patterned_key, is_weak_key
from tests.support import KEY

ROOT = Path(__file__).parents[2]

GUESSABLE = [
    "a-key-of-at-least-32-characters-0123",
    "0123456789abcdef0123456789abcdef",
    "abcdefghijklmnopqrstuvwxyz012345",
    "zyxwvutsrqponmlkjihgfedcba987654",
    "02468ace13579bdf02468ace13579bdf",
    "00112233445566778899aabbccddeeff",
    "qwertyuiopasdfghjklzxcvbnm123456",
    "1qaz2wsx3edc4rfv5tgb6yhn7ujm8ik9ol",
    "q1w2e3r4t5y6u7i8o9p0a1s2d3f4g5h6j7k8",
    "a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6",
    "passwordpasswordpassword12345678",
    "correct-horse-battery-staple-0123456",
    "this is a key that nobody will guess",
    "replace_this_with_a_random_string_of_32",
    "YOUR_CALLBACK_KEY_GOES_HERE_PLEASE_1",
    "thisisaverylongsecretkeyforcallbacks",
    "ThisIsMySecretKeyForProduction123",
    "Sup3rS3cr3tK3yForTh3C4llb4ckT0k3ns!!",
    "deadbeefcafebabe0123456789abcdef",
    KEY,
]
GENERATED = "as `stagehook key generate` prints it"
SEEDED = random.Random(7)
RANDOM: dict[str, Callable[[], str]] = {
    GENERATED: lambda: base64.urlsafe_b64encode(SEEDED.randbytes(32)).rstrip(b"=").decode(),
    "hexadecimal": lambda: SEEDED.randbytes(16).hex(),
    "base64": lambda: base64.b64encode(SEEDED.randbytes(24)).decode(),
    "base32": lambda: base64.b32encode(SEEDED.randbytes(20)).decode().lower(),
    "two uuids": lambda: "-".join(str(uuid.UUID(bytes=SEEDED.randbytes(16), version=4)) for _ in range(2)),
}


@pytest.mark.parametrize("key", GUESSABLE)
def test_a_key_that_was_made_by_hand_is_patterned(key: str) -> None:
    assert not is_weak_key(key), "it is refused for its length, and shows nothing"
    assert is_patterned_key(key)


@pytest.mark.system
@pytest.mark.parametrize(
    ("kind", "times"), [*((kind, 2_000) for kind in RANDOM), pytest.param(GENERATED, 20_000, marks=pytest.mark.fault)]
)
def test_no_random_key_is_patterned(kind: str, times: int) -> None:
    keys = [RANDOM[kind]() for _ in range(times)]
    assert [key for key in keys if is_weak_key(key) or is_patterned_key(key)] == []


def test_free_characters_are_counted_as_documented() -> None:
    assert count_free("0123456789abcdef0123456789abcdef") == 3
    assert count_free("a-key-of-at-least-32-characters-0123") == 16
    assert FEWEST_FREE == 20


def test_every_key_in_the_documents_is_patterned_or_weak() -> None:
    documents = [ROOT / "README.md", ROOT / ".env.example", ROOT / "app.json", *ROOT.glob("docs/*.md")]
    text = "\n".join(document.read_text() for document in documents)
    keys = re.findall(r"CALLBACK_KEYS[=:]\s*[\"']?([\w,-]+)", text)
    assert [key for key in keys if not is_weak_key(key) and not is_patterned_key(key)] == []
