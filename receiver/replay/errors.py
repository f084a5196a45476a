"""The errors of replaying, apart from `sending` and `stand_ins`, which import httpx and Starlette."""

from __future__ import annotations


class NotReplayable(Exception):
    """A delivery that cannot be sent again. The message says why."""


class CannotSign(Exception):
    """The partner's scheme cannot sign here: it has only a public key, or does not cover such a body."""


class PartnerNotEnabled(Exception):
    """A delivery's partner is not among PARTNERS here, so its signature cannot be made."""


class NoStandIn(Exception):
    """A captured run cannot have a stand-in. The message says why."""
