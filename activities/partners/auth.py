"""Authentication of requests to partners that httpx does not include (it has `httpx.BasicAuth`)."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import math
import re
import time
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote_plus

import httpx

from activities.environment import is_base_url
from activities.http import UNANSWERED, NotAuthenticated, send_for_auth
from activities.reaching import plain_words
from activities.signatures import ConfigError
from workflows.durations import DAY


class HeaderKey(httpx.Auth):
    """Authenticates by a key in a header, or by a bearer token: `HeaderKey("Authorization", f"Bearer {key}")`.

    Raises `ConfigError` for a value that a header cannot hold.
    """

    def __init__(self, name: str, value: str) -> None:
        if not (value.isascii() and value.isprintable()):
            raise ConfigError(f"the value of {name} has a newline or another character that no header can have")
        self._name = name
        self._value = value

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the header to a request."""
        request.headers[self._name] = self._value
        yield request


TOKEN_SECONDS: Final = 10.0
"""Limit for a token endpoint. A stage's call waits for it, within its own time."""

LONGEST_MARGIN: Final = 30.0
"""Seconds before its expiry from which a token is not used any more; of a short-lived token, a tenth of its life."""

LONGEST_LIFE: Final = 366 * DAY
"""Maximum life of a token. JSON may hold an integer that is too large for a float."""

BEARER_TOKEN: Final = re.compile(r"[A-Za-z0-9._~+/-]{1,8192}=*")
OAUTH_ERRORS: Final = frozenset(
    {
        *("invalid_request", "invalid_client", "invalid_grant", "unauthorized_client", "unsupported_grant_type"),
        *("invalid_scope", "access_denied", "server_error", "temporarily_unavailable"),
    }
)
"""Error codes of RFC 6749 that are repeated. Other words of a token endpoint may quote our secret."""


IMPOSSIBLE_ENDPOINT: Final = (
    "the token URL of auth is not a plain http or https URL: use one such as https://api.example.com/token"
)


@dataclass(frozen=True)
class _Token:
    value: str
    good_until: float


class ClientCredentials(httpx.Auth):
    """Authenticates by a bearer token of OAuth 2.0's client credentials grant (RFC 6749, 4.4).

    All calls of a worker process to the partner share a token. It is renewed before it expires, and once for a call
    that is answered 401. Without a token no call is sent: that raises `NotAuthenticated`, and the call is tried again.

    token_url: the token endpoint; it is reached by the partner's connection. client_id, secret: our credentials.
    scope: what to ask for, or "". in_body: send the credentials in the form, not by Basic authentication.
    more: further fields of the form, such as an audience. now: a monotonic clock, in seconds.
    """

    def __init__(
        self,
        token_url: str,
        client_id: str,
        secret: str,
        scope: str = "",
        *,
        in_body: bool = False,
        more: Mapping[str, str] | None = None,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = token_url
        self._form = {"grant_type": "client_credentials", **({"scope": scope} if scope else {}), **(more or {})}
        self._basic = None if in_body else (client_id, secret)
        if in_body:
            self._form |= {"client_id": client_id, "client_secret": secret}
        self._now = now
        self._token: _Token | None = None
        self._fetching: asyncio.Task[_Token] | None = None

    @property
    def flaw(self) -> str:
        """Why no token can be asked for, or ""."""
        try:
            httpx.URL(self._url)
        except httpx.InvalidURL:
            return IMPOSSIBLE_ENDPOINT
        return "" if is_base_url(self._url.partition("?")[0]) else IMPOSSIBLE_ENDPOINT

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Refuse a synchronous client: it would send the request without a token."""
        raise RuntimeError("ClientCredentials needs an asynchronous client")

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Add a token to a request; send it a second time, with a new token, after a 401."""
        used = await self.token()
        request.headers["Authorization"] = f"Bearer {used}"
        response = yield request
        if response.status_code == 401:
            request.headers["Authorization"] = f"Bearer {await self.token(instead_of=used)}"
            yield request

    async def token(self, *, instead_of: str = "") -> str:
        """Return a token; raises `NotAuthenticated`. instead_of: a token that the partner has refused."""
        token = self._token
        if token and token.value != instead_of and self._now() < token.good_until:
            return token.value
        # All calls that need a token wait for the same request. A call that gives up does not end it for the others.
        loop = asyncio.get_running_loop()
        fetching = self._fetching
        if fetching is None or fetching.done() or fetching.get_loop() is not loop:
            self._fetching = fetching = loop.create_task(self._fetch())
            fetching.add_done_callback(lambda task: task.cancelled() or task.exception())
        try:
            return (await asyncio.shield(fetching)).value
        except NotAuthenticated as error:
            raise NotAuthenticated(str(error)) from None

    async def _fetch(self) -> _Token:
        asked_at = self._now()
        try:
            response = await send_for_auth(self._request(), within=TOKEN_SECONDS)
        except UNANSWERED as error:
            raise NotAuthenticated(f"its token endpoint gives no answer ({plain_words(error)})") from None
        self._token = _read_token(response, asked_at)
        return self._token

    def _request(self) -> httpx.Request:
        request = httpx.Request("POST", self._url, data=self._form, headers={"Accept": "application/json"})
        if self._basic:
            # RFC 6749, 2.3.1: encoded as in a form first, so that an id may have a colon.
            credentials = ":".join(map(quote_plus, self._basic))
            request.headers["Authorization"] = f"Basic {base64.b64encode(credentials.encode()).decode()}"
        return request


def _read_token(response: httpx.Response, asked_at: float) -> _Token:
    found: Any = None
    with contextlib.suppress(ValueError, RecursionError):
        found = json.loads(response.content)
    found = found if isinstance(found, dict) else {}
    if response.status_code != 200:
        code = found.get("error")
        said = f" ({code})" if isinstance(code, str) and code in OAUTH_ERRORS else ""
        raise NotAuthenticated(f"its token endpoint answers {response.status_code}{said}")
    value, kind, seconds = found.get("access_token"), found.get("token_type", "bearer"), found.get("expires_in")
    if not isinstance(value, str) or not BEARER_TOKEN.fullmatch(value):
        raise NotAuthenticated("its token endpoint answers 200 without a usable access_token")
    if not isinstance(kind, str) or kind.lower() != "bearer":
        raise NotAuthenticated("its token endpoint gives another kind of token than bearer")
    return _Token(value, asked_at + _life(seconds))


def _life(seconds: object) -> float:
    """The seconds for which a token is used. Some endpoints write the number as text."""
    if isinstance(seconds, str) and re.fullmatch(r"[0-9]{1,9}", seconds):
        seconds = int(seconds)
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < math.inf:
        return math.inf if seconds is None else 0.0  # without an expiry, until the partner refuses it
    life = min(seconds, LONGEST_LIFE)
    return life - min(LONGEST_MARGIN, life / 10)
