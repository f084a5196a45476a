"""A browser that has signed in."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.parts.consoles import Browser, browsing, locked_console


@pytest.fixture
async def signed_in() -> AsyncIterator[Browser]:
    async with browsing(locked_console()) as browser:
        await browser.sign_in()
        yield browser
