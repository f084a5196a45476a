"""Handshakes: a partner's check of one of our URLs before it sends callbacks to it."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from activities.handshakes import UNSAFE_TEXT, HandshakeRequest, Reply
from activities.partners.partner import Partner
from receiver.answers import Ended, Verdict


class HandshakeDone(Ended):
    """Ends the handling of a request with the reply to a handshake. Nothing is recorded or signalled."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(Verdict.GREETED, recorded=True)
        self._reply = reply

    def respond(self) -> Response:
        """The reply. `nosniff` keeps browsers from treating it as another media type."""
        headers = {**self._reply.headers, "X-Content-Type-Options": "nosniff"}
        return Response(self._reply.body, self._reply.status, headers, self._reply.media_type)


def reply_to(partner: Partner, request: Request, body: bytes | None, *, rate: float) -> Reply | None:
    """The reply, if the request is the partner's handshake; otherwise None.

    body: None until the body and its signature have been checked. rate: callbacks per second at this URL.
    """
    if partner.handshake is None:
        return None
    asked = HandshakeRequest(
        method=request.method,
        query=request.scope["query_string"].decode("latin-1"),
        headers=tuple((name.decode("latin-1"), value.decode("latin-1")) for name, value in request.scope["headers"]),
        body=body or b"",
        rate=int(60 * rate),
    )
    reply = partner.handshake.answer(asked, proven=body is not None)
    # Without a body signature, anyone who has the URL could have any text echoed.
    return reply if body is None or partner.proves_its_bodies or reply is None else UNSAFE_TEXT
