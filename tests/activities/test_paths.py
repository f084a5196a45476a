"""An id in a path names one segment of it, and never another request."""

from __future__ import annotations

from urllib.parse import unquote

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.partners.paths import BadSegment, path_segment


@pytest.mark.parametrize("text", ["", ".", "..", "a\ud800"])
def test_what_would_change_the_path_is_refused(text: str) -> None:
    with pytest.raises(BadSegment):
        path_segment(text)


@pytest.mark.parametrize("text", ["a/b", "../a", "a?b#c", "%2e%2e", "...", " ", "é", "a;b", "a\\b", "\n"])
def test_every_other_text_is_one_segment(text: str) -> None:
    url = httpx.URL(f"https://api.example.com/cards/{path_segment(text)}/cancel")
    _, cards, segment, cancel = url.raw_path.decode().split("/")
    assert (cards, unquote(segment), cancel) == ("cards", text, "cancel")
    assert (url.query, url.fragment) == (b"", "")


@given(st.text(min_size=1).filter(lambda text: text not in {".", ".."}))
def test_a_segment_reads_as_its_text(text: str) -> None:
    assert unquote(path_segment(text)) == text
