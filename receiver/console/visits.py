"""Visit: who sends a request to the console, as the checks in front of the pages have found out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, cast

from starlette.requests import Request

VISIT: Final = "stagehook.visit"
"""The key of the visit in the ASGI scope."""


@dataclass(frozen=True)
class Visit:
    """A request's visitor and its form.

    actor: the name that is written into the ledger. session: what form tokens are bound to. can_sign_out: whether the
    visitor has signed in with the password. form: the fields of a POST whose token was valid.
    """

    actor: str
    session: str
    can_sign_out: bool = False
    form: Mapping[str, str] = field(default_factory=dict)


STRANGER: Final = Visit("", "")
"""The visitor of the sign-in page."""


def visit_of(request: Request) -> Visit:
    """The visit of a request; on every page but the sign-in page it has an actor."""
    return cast(Visit, request.scope.get(VISIT, STRANGER))
