"""`stagehook doctor`'s checks of the ways to partners: certificates, proxies and token endpoints."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

from activities.http import NotAuthenticated, http_client, through
from activities.partners.auth import ClientCredentials
from activities.partners.partner import Partner
from activities.reaching import plain_words
from receiver.cli.doctor.findings import Finding
from receiver.cli.output import ANSWER_TIMEOUT


async def ways_to_partners(partners: Mapping[str, Partner]) -> AsyncIterator[Finding]:
    """Yield a line for each certificate, proxy and token endpoint that a call to a partner needs."""
    for name, partner in partners.items():
        flaws = list(partner.connection.flaws(datetime.now(UTC)))
        for flaw in flaws:
            fix = "set its variable to a new one, and start web and worker again"
            yield Finding("ways", ok=False, says=f"{name}: {flaw}", fix=fix)
        if partner.connection.certificate and not flaws:
            yield Finding("ways", ok=True, says=f"{name}: our client certificate is valid")
        if partner.connection.proxy:
            yield await _proxy(name, partner.connection.proxy)
        if isinstance(partner.auth, ClientCredentials):
            yield await _token(name, partner, partner.auth)


async def _proxy(name: str, url: str) -> Finding:
    parts = urlsplit(url)
    where = f"{name}: its proxy {parts.hostname}:{parts.port}"
    try:
        async with asyncio.timeout(ANSWER_TIMEOUT):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
    except (OSError, TimeoutError) as error:
        fix = "check the address and the network; no call to this partner leaves without it"
        return Finding("ways", ok=False, says=f"{where} is not reached ({plain_words(error)})", fix=fix)
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return Finding("ways", ok=True, says=f"{where} is reached")


async def _token(name: str, partner: Partner, auth: ClientCredentials) -> Finding:
    async with http_client(1) as http:
        try:
            with through(http, partner.connection):
                await auth.token()
        except NotAuthenticated as error:
            fix = "check the client id, the secret and the scope in its variables, and the address"
            return Finding("ways", ok=False, says=f"{name}: {error}", fix=fix)
    return Finding("ways", ok=True, says=f"{name}: its token endpoint gives a token")
