"""The pages of a long list."""

from __future__ import annotations

import re
from typing import Final

from starlette.requests import Request

PAGE_SIZE: Final = 50
"""Entries on a page."""


def page_number(request: Request) -> int:
    """The number of the page that the request asks for; 1 for anything that is not a number."""
    given = request.query_params.get("page", "")
    return max(1, int(given)) if re.fullmatch(r"[0-9]{1,6}", given) else 1
