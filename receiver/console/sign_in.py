"""SignIn: signing in with the console's password and a name, which is the actor in the ledger; and signing out.

A session is a signed cookie. Its key is the password, so that every web process knows it, and a new password signs
everybody out. Signing out removes the cookie from the browser.
"""

from __future__ import annotations

import hmac
import logging
import re
import secrets
from typing import Any, Final

from itsdangerous import BadData, URLSafeTimedSerializer
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from receiver.budget import RateBudget
from receiver.console.assets import STATIC_PATH
from receiver.console.forms import SIGNER
from receiver.console.guard import address_of, path_within, text_answer
from receiver.console.options import ConsoleOptions
from receiver.console.site import Site
from receiver.console.visits import STRANGER, Visit, visit_of
from workflows.commands import LONGEST_COMMAND_NAME

logger = logging.getLogger("stagehook.console")

SESSION_SALT: Final = "stagehook.console.session.v1"
SESSION_SECONDS: Final = 12 * 3600
COOKIE: Final = "stagehook-console"
SIGN_IN_PATH: Final = "/sign-in"
SIGN_OUT_PATH: Final = "/sign-out"
LOCAL_ADDRESS: Final = re.compile(r"/(?![/\\])[!-\[\]-~]*")
"""A path within the console, with its query, that a browser cannot take for another host."""

TRIES_PER_SECOND: Final = 0.5
ALL_TRIES_PER_SECOND: Final = 5.0
"""Passwords that are checked, from an address and altogether, in each process; ten seconds' worth at once."""

WRONG: Final = "The password is wrong. It is the value of CONSOLE_PASSWORD."
WAIT: Final = "Too many attempts to sign in. Wait {} s, and try again."
NO_NAME: Final = f"The name is missing or too long. Use 1 to {LONGEST_COMMAND_NAME} characters; the ledger shows it."


class Sessions:
    """Issues and reads the cookies of sessions. key: the console's password."""

    def __init__(self, key: str) -> None:
        self._serializer = URLSafeTimedSerializer(key, salt=SESSION_SALT, signer_kwargs=dict(SIGNER))

    def issue(self, actor: str) -> str:
        """The cookie of a new session."""
        return str(self._serializer.dumps([secrets.token_urlsafe(12), actor]))

    def read(self, cookie: str) -> Visit | None:
        """The visit of a session; None for a cookie that is expired, or that this password did not issue."""
        try:
            content: Any = self._serializer.loads(cookie, max_age=SESSION_SECONDS)
        except BadData:
            return None
        match content:
            case [str() as session, str() as actor]:
                return Visit(actor, session, can_sign_out=True)
        return None


class SignIn:
    """The reception of a console with a password, and its pages. site: set before the first request."""

    site: Site

    def __init__(self, options: ConsoleOptions) -> None:
        self._options = options
        self._sessions = Sessions(options.key)
        self._budget = RateBudget()
        # `__Host-` would require the path `/`, which the callbacks' endpoints share.
        self._cookie = f"__Secure-{COOKIE}" if options.is_https else COOKIE

    def visit(self, request: Request) -> Visit | Response:
        """The visit of the session; the sign-in page for a page without one, and a refusal for a form."""
        path = path_within(request)
        if visit := self._sessions.read(request.cookies.get(self._cookie, "")):
            return visit
        if path == SIGN_IN_PATH or path.startswith(STATIC_PATH):
            return STRANGER
        if request.method == "POST":
            return text_answer(
                401, "You are not signed in any more. Sign in, and send the form again. Nothing was done."
            )
        return self.site.redirect(self.site.link(SIGN_IN_PATH, next=address_of(request)))

    def routes(self) -> list[Route]:
        """The pages."""
        return [
            Route(SIGN_IN_PATH, self._show, methods=["GET"]),
            Route(SIGN_IN_PATH, self._sign_in, methods=["POST"]),
            Route(SIGN_OUT_PATH, self._sign_out, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        return self._page(request)

    def _page(self, request: Request, problem: str = "", *, status: int = 200, actor: str = "") -> Response:
        return self.site.render(request, "sign_in.html", status=status, problem=problem, actor=actor)

    async def _sign_in(self, request: Request) -> Response:
        form = visit_of(request).form
        actor = form.get("actor", "").strip()
        if wait := self._seconds_to_wait(request):
            return self._page(request, WAIT.format(int(wait) + 1), status=429, actor=actor)
        if not hmac.compare_digest(form.get("password", "").encode(), self._options.password.encode()):
            logger.warning("console-password-wrong", extra={"address": _address(request)})
            return self._page(request, WRONG, status=403, actor=actor)
        if not 1 <= len(actor) <= LONGEST_COMMAND_NAME or not actor.isprintable():
            return self._page(request, NO_NAME, status=422)
        logger.info("console-signed-in", extra={"actor": actor})
        wanted = request.query_params.get("next", "")
        response = self.site.redirect(f"{self._options.base}{wanted if LOCAL_ADDRESS.fullmatch(wanted) else '/'}")
        self._set_cookie(response, self._sessions.issue(actor), SESSION_SECONDS)
        return response

    async def _sign_out(self, request: Request) -> Response:
        response = self.site.redirect(self.site.link(SIGN_IN_PATH))
        self._set_cookie(response, "", 0)
        return response

    def _seconds_to_wait(self, request: Request) -> float:
        # The address first: one that is over its own limit must not use up what the others have.
        wait = self._budget.seconds_to_wait(f"of {_address(request)}", TRIES_PER_SECOND)
        return wait or self._budget.seconds_to_wait("all", ALL_TRIES_PER_SECOND)

    def _set_cookie(self, response: Response, value: str, seconds: int) -> None:
        response.set_cookie(
            self._cookie,
            value,
            max_age=seconds,
            path=f"{self._options.base}/",
            secure=self._options.is_https,
            httponly=True,
            samesite="strict",
        )


class OpenDoor:
    """The reception of a console without a password. actor: the name of every visitor."""

    def __init__(self, actor: str) -> None:
        self._visit = Visit(actor, "")

    def visit(self, request: Request) -> Visit:
        """Everybody is let in: the console listens on loopback only."""
        return self._visit


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
