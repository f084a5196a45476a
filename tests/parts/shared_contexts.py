"""One SSL context for all HTTP clients: each reads all certificate authorities, which takes longer than most tests."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from unittest.mock import patch

import httpx
import pytest


@pytest.fixture(scope="session", autouse=True)
def shared_contexts() -> Iterator[None]:
    shared = cache(httpx.create_ssl_context)
    with patch("httpx._transports.default.create_ssl_context", shared):
        yield
