"""A partner's server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.parts.partner_servers import PartnerServer, partner_server


@pytest.fixture
def server() -> Iterator[PartnerServer]:
    with partner_server() as server:
        yield server
