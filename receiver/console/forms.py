"""Forms: tokens that bind a form to its session and to its address, and reading what a form sends."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl

from itsdangerous import Signer
from starlette.requests import Request

from receiver.deadlines import deadline

SIGNER: Final[Mapping[str, Any]] = {"key_derivation": "hmac", "digest_method": hashlib.sha256}
"""How everything of the console is signed; each purpose has a salt of its own."""

FORM_SALT: Final = "stagehook.console.form.v1"
TOKEN_FIELD: Final = "token"  # noqa: S105
POSTED_TYPE: Final = "application/x-www-form-urlencoded"

LARGEST_POST: Final = 64 * 1024
"""Bytes of a form: a reason, and an outcome's data of 32 KiB."""

MOST_POSTED_FIELDS: Final = 50
FORM_SECONDS: Final = 5.0

OF_ANOTHER: Final = "the form is of another session or page: load the page again, and send it from there"


class FormRefused(Exception):
    """A form that is not from one of our pages, or cannot be read. status: the HTTP status."""

    def __init__(self, status: int, what: str) -> None:
        super().__init__(what)
        self.status = status


class FormTokens:
    """Issues and checks form tokens. key: the console's secret."""

    def __init__(self, key: str) -> None:
        self._signer = Signer(key, salt=FORM_SALT, **SIGNER)

    def issue(self, session: str, address: str) -> str:
        """The token of a form. address: path and query that the form is sent to."""
        return self._signer.get_signature(_content(session, address)).decode()

    def check(self, session: str, address: str, token: str) -> None:
        """Raise `FormRefused` unless the token was issued for this session and address; takes constant time."""
        if not self._signer.verify_signature(_content(session, address), token.encode("utf-8", "replace")):
            raise FormRefused(403, OF_ANOTHER)


def _content(session: str, address: str) -> bytes:
    return f"{session}\n{address}".encode("utf-8", "surrogatepass")


async def read_form(request: Request) -> Mapping[str, str]:
    """Return the fields of a form, the last of each name; raises `FormRefused`."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != POSTED_TYPE:
        raise FormRefused(415, f"a form is sent as {POSTED_TYPE}")
    body = bytearray()
    try:
        async with deadline(FORM_SECONDS):
            async for chunk in request.stream():
                body += chunk
                if len(body) > LARGEST_POST:
                    raise FormRefused(413, f"the form is longer than {LARGEST_POST} bytes: shorten its texts")
    except TimeoutError:
        raise FormRefused(408, "the form did not arrive in time: send it again") from None
    try:
        text = body.decode("ascii")
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=MOST_POSTED_FIELDS, errors="strict"))
    except ValueError:
        raise FormRefused(400, "the form cannot be read: load the page again, and send it from there") from None
