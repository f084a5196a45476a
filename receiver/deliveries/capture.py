"""Capture: what is kept of a request, and what never is.

A callback token, an Authorization header or a cookie would let whoever reads the store answer stages or call partners;
none of them is kept. The signature headers are: without them nobody could tell later why a body signature was wrong.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request

from activities.callback_urls import CALLBACKS_PATH, Claims
from activities.redaction import may_hold_token, redact_tokens, without_tokens
from activities.spellings import REDACTED
from receiver.answers import Verdict
from receiver.deliveries.credentials import is_credential
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, UNKNOWN_TOKEN, Delivery, digest, new_id, placeholder

SHORTEST_TOKEN: Final = 40
"""Characters; what a partner's body has in a token's place and is shorter is none, of this system or of any other."""

MOST_SEARCHED: Final = 2048
"""Characters of the query, and of all headers, that are searched for hidden tokens: 1.5 ms a KiB at worst. Texts with
escapes or tokens in them are rare and short; a text that exceeds this is `[redacted]` as a whole."""


@dataclass
class Capture:
    """One request, and what has been found out about it so far.

    query: with its question mark, or "". path: what may be kept of the path; the token is cut out of it.
    unread: size and digest of a body that is not kept; the digest is "" where it was not read to its end.
    own_partner: whose webhook URL it came to, if it is one partner's; there the token is in the body.
    """

    method: str
    headers: list[tuple[str, str]]
    query: str
    client: str
    token: str
    path: str = CALLBACKS_PATH
    own_partner: str = ""
    received_at: float = field(default_factory=time.time)
    claims: Claims | None = None
    body: bytes | None = None
    unread: tuple[int, str] = (0, "")
    signed_id: str = ""
    says: str = ""
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = new_id(self.received_at)

    @classmethod
    def of(cls, request: Request, token: str, path: str = CALLBACKS_PATH) -> Capture:
        """Begin with what the request's head says."""
        query = request.scope["query_string"].decode("latin-1")
        return cls(
            method=request.method,
            # Blanks around a value are no part of it (RFC 9110, 5.5), and no client could send them again.
            headers=[
                (name.decode("latin-1"), value.strip(b" \t").decode("latin-1"))
                for name, value in request.scope["headers"]
            ],
            query=f"?{query}" if query else "",
            client=request.client.host if request.client else "",
            token=token,
            path=path,
        )

    @property
    def partner(self) -> str:
        """The partner's name, as soon as it is known; until then ""."""
        return self.claims.partner if self.claims else self.own_partner

    def recordable_size(self, verdict: Verdict, announced: int) -> int:
        """Bytes that a record of it takes at least, if it is refused. announced: of a body that was not read."""
        body_size = announced if self.body is None else len(self.body)
        head = len(self.query) + sum(len(name) + len(value) for name, value in self.headers)
        return head + (body_size if self._is_kept_whole(verdict) or body_size <= MAX_REFUSED_BODY_BYTES else 0)

    def _is_kept_whole(self, verdict: Verdict) -> bool:
        """Whether a body is kept however long it is: to be sent, or to be read again once its partner's file is mended.

        Without claims nothing can be sent, and the token may be anywhere in it.
        """
        return verdict is Verdict.ACCEPTED or (verdict is Verdict.BROKEN and self.claims is not None)

    def note_unread(self, body: bytes | None, size: int, digest_: str) -> None:
        """Note what nobody needed of the body: the whole of it if it is there, else what is known of it."""
        self.body, self.unread = body, (size, digest_)

    def at_partner_url(self, path: str, partner: str) -> None:
        """Note that it came to this partner's one webhook URL."""
        self.path, self.own_partner = path, partner

    def delivery(self, verdict: Verdict, reason: str = "", *, status: int = 0) -> Delivery:
        """The record of it, answered so; reason: in words of ours. status: in place of the verdict's own."""
        claims, body = self.claims, self._shown_body
        size, read_digest = self.unread
        if (read := self.body if body is None else body) is not None:
            size, read_digest = len(read), digest(read)
        whole = body is not None and (self._is_kept_whole(verdict) or len(body) <= MAX_REFUSED_BODY_BYTES)
        known: dict[str, Any] = {"partner": self.own_partner} if claims is None else vars(claims)
        return Delivery(
            id=self.id,
            received_at=self.received_at,
            method=self.method,
            target=self._without_token(
                self.path + (self._shown_token if self._at_callback_url else "") + self._shown_query
            ),
            headers=self._shown_headers,
            body=body if whole else None,
            body_size=size,
            body_digest=read_digest,
            client=self.client,
            signed_id=self.signed_id,
            says=self.says,
            verdict=verdict.name.lower(),
            reason=self._without_token(reason),
            status=status or verdict.status,
            **known,
        )

    @property
    def _at_callback_url(self) -> bool:
        """Whether the token is in the path; at every other URL it is in the body, if there is one."""
        return self.path == CALLBACKS_PATH

    @property
    def _shown_token(self) -> str:
        if not self.token:
            return ""
        return UNKNOWN_TOKEN if self.claims is None else placeholder(self.claims)

    @property
    def _shown_body(self) -> bytes | None:
        """The body; at a partner's URL without the token in it. One that hides its token from us is not kept."""
        if self.body is None or self._at_callback_url:
            return self.body
        found = self.body
        if len(self.token) >= SHORTEST_TOKEN:
            found = found.replace(self.token.encode("utf-8", "surrogatepass"), self._shown_token.encode())
            if found == self.body:
                return None
        # Of a body that was refused nobody knows where its token stands, and it may well be a good one.
        return found if self.claims or len(found) > MAX_REFUSED_BODY_BYTES else redact_tokens(found)

    @property
    def _shown_query(self) -> str:
        too_long = len(self.query) > MOST_SEARCHED and self._is_suspect(self.query)
        return f"?{REDACTED.decode()}" if too_long else self.query

    @property
    def _shown_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers without credentials and tokens; only suspect ones are searched, and mostly none is."""
        kept = [(name, value) for name, value in self.headers if not is_credential(name)]
        if not self._is_suspect("\n".join(value for _, value in kept)):
            return tuple(kept)
        left = MOST_SEARCHED
        for place, (name, value) in enumerate(kept):
            if self._is_suspect(value):
                left -= len(value)
                kept[place] = name, self._without_token(value) if left >= 0 else REDACTED.decode()
        return tuple(kept)

    def _is_suspect(self, text: str) -> bool:
        """A cheap test: False if `_without_token` would not change the text."""
        repeats_token = len(self.token) >= SHORTEST_TOKEN and self.token in text
        return repeats_token or "\0" in text or may_hold_token(text.encode("utf-8", "replace"))

    def _without_token(self, text: str) -> str:
        """The text, should it repeat the token, without it; and without NUL, which PostgreSQL keeps in no text."""
        own = text.replace(self.token, self._shown_token) if len(self.token) >= SHORTEST_TOKEN else text
        raw = own.encode("utf-8", "replace")
        clean = without_tokens(raw) if self._at_callback_url else redact_tokens(raw)
        return clean.decode().replace("\0", "\ufffd")
