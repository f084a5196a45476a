"""Capture: what is kept of a request, and what is never kept.

A callback token, an Authorization header and a cookie are never kept: with them, a reader of the store could answer
stages or call partners. Signature headers are kept: they show later why a body signature was wrong.

Example: `POST /callbacks/TOKEN?try=2` with `Cookie: a=b` is kept as the target `/callbacks/{order-7/2/1}?try=2`,
without the cookie.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final

from starlette.requests import Request

from activities.callback_urls import CALLBACKS_PATH, Claims, version_of
from activities.redaction.headers import is_credential
from activities.redaction.text import REDACTED
from activities.redaction.tokens import LIKE_A_SHORT_TOKEN, LIKE_A_TOKEN, redact_tokens, without_tokens
from receiver.answers import Verdict
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, UNKNOWN_TOKEN, Delivery, digest, new_id, placeholder

SHORTEST_TOKEN: Final = 40
"""Minimum characters of a callback token. A shorter text in its place is not a token of any Stagehook."""

MOST_SEARCHED: Final = 2048
"""Characters of the query, and of all headers together, that are searched for hidden tokens: 0.3 ms per KiB at worst.
Texts with escapes or tokens are rare and short; a text beyond the limit is replaced by `[redacted]` as a whole."""

SURROGATE: Final = re.compile("[\ud800-\udfff]")
"""Matches a character that a store does not take: UTF-8 cannot encode it."""


@dataclass
class Capture:
    """A request, and what has been found out about it so far.

    query: with its question mark, or "". path: the part of the path that may be kept, without the token.
    unread: size and digest of a body that is not kept; the digest is "" if the body was not read to its end.
    is_proven: whether the partner has signed the body.
    secret_headers: names of headers in lower case that hold a partner's secret, besides those of every credential.
    own_partner: the partner whose single webhook URL it came to, or ""; at such a URL the token is in the body.
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
    reference: str = ""
    is_proven: bool = False
    secret_headers: Collection[str] = ()
    id: str = field(init=False)

    def __post_init__(self) -> None:
        self.id = new_id(self.received_at)

    @classmethod
    def of(
        cls, request: Request, token: str, path: str = CALLBACKS_PATH, secret_headers: Collection[str] = ()
    ) -> Capture:
        """Make a capture from the request's head."""
        query = request.scope["query_string"].decode("latin-1")
        return cls(
            method=request.method,
            # Blanks around a value are not part of it (RFC 9110, 5.5), and clients cannot send them in a replay.
            headers=[
                (name.decode("latin-1"), value.strip(b" \t").decode("latin-1"))
                for name, value in request.scope["headers"]
            ],
            query=f"?{query}" if query else "",
            client=request.client.host if request.client else "",
            token=token,
            path=path,
            secret_headers=secret_headers,
        )

    @property
    def partner(self) -> str:
        """The partner's name, or "" while it is unknown."""
        return self.claims.partner if self.claims else self.own_partner

    def recordable_size(self, verdict: Verdict, announced: int) -> int:
        """Minimum bytes of the record of a refused request. announced: the size of a body that was not read."""
        body_size = announced if self.body is None else len(self.body)
        head = len(self.query) + sum(len(name) + len(value) for name, value in self.headers)
        return head + (body_size if self._is_kept_whole(verdict) or body_size <= MAX_REFUSED_BODY_BYTES else 0)

    def _is_kept_whole(self, verdict: Verdict) -> bool:
        """Whether the body is kept at any length: to be sent, or to be read again once the partner's file is fixed.

        Without claims it cannot be sent, and the token may be anywhere in the body; a body that is proven to be the
        partner's is read again for them.
        """
        is_readable = self.claims is not None or self.is_proven
        return verdict in {Verdict.ACCEPTED, Verdict.UNMATCHED} or (verdict is Verdict.BROKEN and is_readable)

    def note_unread(self, body: bytes | None, size: int, digest_: str) -> None:
        """Set the body that the handling did not read: the whole body if it is known, otherwise its size and digest."""
        self.body, self.unread = body, (size, digest_)

    def at_partner_url(self, path: str, partner: str) -> None:
        """Set the partner whose single webhook URL the request came to."""
        self.path, self.own_partner = path, partner

    def delivery(self, verdict: Verdict, reason: str = "", *, status: int = 0) -> Delivery:
        """The record of the request. reason: our own text. status: replaces the verdict's status, if not 0."""
        claims, body = self.claims, self._kept_body(verdict)
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
            reference=self.reference,
            verdict=verdict.name.lower(),
            reason=self._without_token(reason),
            status=status or verdict.status,
            **known,
        )

    @property
    def _at_callback_url(self) -> bool:
        """Whether the token is in the path. At every other URL it is in the body, if the body has a token."""
        return self.path == CALLBACKS_PATH

    @property
    def _shown_token(self) -> str:
        if not self.token:
            return ""
        return UNKNOWN_TOKEN if self.claims is None else placeholder(self.claims, version_of(self.token))

    def _kept_body(self, verdict: Verdict) -> bytes | None:
        """The body as it may be kept: as it came, if it may be read again; see `delivery.without_tokens_in_body`.

        Otherwise, at a partner's URL the token is replaced; if it cannot be found, None.

        Example: the partner escapes a character of the token in its JSON. The token is read, but its text is not in the
        bytes, so it cannot be cut out: the body is not kept.
        """
        if self.body is None or self._at_callback_url or (self.is_proven and self._is_kept_whole(verdict)):
            return self.body
        found = self.body
        if len(self.token) >= SHORTEST_TOKEN:
            found = found.replace(self.token.encode("utf-8", "surrogatepass"), self._shown_token.encode())
            if found == self.body:
                return None
        # A refused body may hold a valid token at an unknown place: redact everything that may be a token.
        return found if self.claims or len(found) > MAX_REFUSED_BODY_BYTES else redact_tokens(found)

    @property
    def _shown_query(self) -> str:
        too_long = len(self.query) > MOST_SEARCHED and self._is_suspect(self.query)
        return f"?{REDACTED.decode()}" if too_long else self.query

    @property
    def _shown_headers(self) -> tuple[tuple[str, str], ...]:
        """The headers without credentials and tokens. Only suspect headers are searched; most requests have none."""
        secret = self.secret_headers
        kept = [(name, value) for name, value in self.headers if not is_credential(name) and name.lower() not in secret]
        if not self._is_suspect("\n".join([value for _, value in kept])):
            return tuple(kept)
        left = MOST_SEARCHED
        for place, (name, value) in enumerate(kept):
            if self._is_suspect(value):
                left -= len(value)
                kept[place] = name, self._without_token(value) if left >= 0 else REDACTED.decode()
        return tuple(kept)

    def _is_suspect(self, text: str) -> bool:
        """Whether `_without_token` may change the text. Nothing in an ordinary request is suspect."""
        repeats_token = len(self.token) >= SHORTEST_TOKEN and self.token in text
        has_escapes = "%" in text or "\\" in text
        unstorable = "\0" in text or (not text.isascii() and SURROGATE.search(text))
        is_like_a_token = LIKE_A_TOKEN.search(text) or LIKE_A_SHORT_TOKEN.search(text)
        return bool(repeats_token or has_escapes or unstorable or is_like_a_token)

    def _without_token(self, text: str) -> str:
        """The text without tokens, the request's own included, and without NUL, which PostgreSQL cannot store."""
        if not text or not self._is_suspect(text):
            return text
        own = text.replace(self.token, self._shown_token) if len(self.token) >= SHORTEST_TOKEN else text
        raw = own.encode("utf-8", "replace")
        clean = without_tokens(raw) if self._at_callback_url else redact_tokens(raw)
        return clean.decode().replace("\0", "\ufffd")
