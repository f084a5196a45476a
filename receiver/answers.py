"""The table of the receiver's answers: each verdict with its HTTP status and the text of its body.

A 2xx is given only for a durable callback, and a 4xx only for what the sender has to change. A problem on our side is a
503 with Retry-After, so that the partner sends again.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from functools import lru_cache
from typing import Final

from starlette.responses import JSONResponse, PlainTextResponse, Response

from activities.handshakes import Handshake
from activities.partners.partner import Partner

RETRY_AFTER_SECONDS: Final = 5


@lru_cache(maxsize=256)  # there are few answers, and most have no detail
def _body(says: str, detail: str) -> bytes:
    return bytes(JSONResponse({"answer": says} | ({"detail": detail} if detail else {})).body)


@dataclass(frozen=True)
class Line:
    """A line of the table. again: the line repeats the answer of another verdict."""

    status: int
    says: str
    headers: dict[str, str] = field(default_factory=dict)
    again: bool = False


class Verdict(Enum):
    """What the receiver decided about a request, and how it answers."""

    ACCEPTED = Line(202, "accepted")
    DUPLICATE = Line(202, "accepted", again=True)
    IGNORED = Line(202, "ignored: it is about no work of ours")
    UNMATCHED = Line(202, "accepted; its call is not known yet")
    GREETED = Line(200, "a handshake; it settles nothing")
    GONE = Line(410, "this callback URL is closed: its work is over")
    CONFLICT = Line(409, "this stage has succeeded with another content")
    UNPROVEN = Line(401, "the body signature is missing or wrong", {"WWW-Authenticate": "Signature"})
    UNKNOWN = Line(404, "there is nothing at this address")
    WRONG_METHOD = Line(405, "this method is not taken here", {"Allow": "POST"})
    MALFORMED = Line(400, "the request is malformed")
    TOO_SLOW = Line(408, "the body took too long")
    TOO_LARGE = Line(413, "the body is too large")
    WRONG_TYPE = Line(415, "the Content-Type is not what this partner sends")
    TOO_MANY = Line(429, "too many at once")
    HEAD_TOO_LARGE = Line(431, "the request's head is too large")
    UNREADABLE = Line(422, "the body cannot be read")
    UNAVAILABLE = Line(503, "not available for a moment", {"Retry-After": str(RETRY_AFTER_SECONDS)})
    BROKEN = Line(503, "an error of ours", {"Retry-After": str(RETRY_AFTER_SECONDS)})

    @property
    def status(self) -> int:
        """The HTTP status."""
        return self.value.status

    def respond(self, *, detail: str = "", close: bool = False, retry_after: int = 0) -> Response:
        """Make the response.

        detail: what exactly was wrong, in our own words. close: whether to close the connection, because the body was
        not read to its end. retry_after: seconds, or 0.
        """
        line: Line = self.value
        headers = dict(line.headers)
        if close:
            headers["Connection"] = "close"
        if retry_after:
            headers["Retry-After"] = str(retry_after)
        return Response(_body(line.says, detail), line.status, headers, media_type="application/json")


AT_ONE_URL: Final = {Verdict.GONE: 202, Verdict.CONFLICT: 202}
"""Statuses at a partner's one webhook URL that differ from the table. Every event of an account arrives there, and
after many 4xx a provider disables the URL for all of them."""


KEPT_HEADERS: Final = ("connection", "www-authenticate")
"""Headers of the table's answer that an answer of the partner's own has too."""

AS_ACCEPTED: Final = {Verdict.DUPLICATE, Verdict.IGNORED, Verdict.UNMATCHED}
"""Verdicts that are answered in the way in which the partner wants to be told `accepted`."""


def in_its_own_way(
    partner: Partner | None, verdict: Verdict, response: Response, *, at_one_url: bool = False
) -> Response:
    """The response in the form that the partner's file asks for; see `activities.partners.partner.OwnAnswer`."""
    if partner is None or verdict is Verdict.GREETED:
        return response
    response = _own_answer(partner, verdict, response, at_one_url=at_one_url)
    if response.status_code < 300:
        for handshake in partner.handshakes:
            if isinstance(handshake, Handshake):
                response.headers.update(handshake.headers_of_answers)
    return response


def _own_answer(partner: Partner, verdict: Verdict, response: Response, *, at_one_url: bool) -> Response:
    case = Verdict.ACCEPTED if verdict in AS_ACCEPTED else verdict
    own = partner.all_answers.get(case.name.lower())
    if own is None:
        if at_one_url:
            response.status_code = AT_ONE_URL.get(verdict, response.status_code)
        return response
    if own.body is None:
        response.status_code = own.status
        return response
    kept = {name: response.headers[name] for name in KEPT_HEADERS if name in response.headers}
    return PlainTextResponse(own.body, own.status, headers=kept)


class Ended(Exception):
    """Ends the handling of a request with a verdict: a refusal, or the reply to a handshake.

    detail: what exactly was wrong, in our own words. recorded: the request needs no further record.
    """

    def __init__(self, verdict: Verdict, detail: str = "", *, recorded: bool = False) -> None:
        super().__init__(verdict.name, detail)
        self.verdict = verdict
        self.detail = detail
        self.recorded = recorded

    def respond(self) -> Response:
        """The response to send."""
        raise NotImplementedError


class Refused(Ended):
    """A refusal.

    body_read: whether the body was read, so that the connection can be reused. retry_after: seconds, for verdicts
    without a Retry-After of their own. recorded: the request needs no further record.
    """

    def __init__(
        self,
        verdict: Verdict,
        detail: str = "",
        *,
        body_read: bool = True,
        retry_after: int = 0,
        recorded: bool = False,
    ) -> None:
        super().__init__(verdict, detail, recorded=recorded)
        self.body_read = body_read
        self.retry_after = retry_after

    def respond(self) -> Response:
        """The response to send."""
        # What is wrong with a partner's file is for our log.
        detail = "" if self.verdict is Verdict.BROKEN else self.detail
        return self.verdict.respond(detail=detail, close=not self.body_read, retry_after=self.retry_after)
