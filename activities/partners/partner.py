"""Partner: everything the system knows about one third party, in both directions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import httpx

from activities.environment import Environment
from workflows.contract import Answer, Receipt, StageCall


class Unreadable(Exception):
    """A partner sent something that its file cannot read. The message says what is missing, and quotes nothing."""


@dataclass(frozen=True)
class Partner:
    """One third party.

    name: as stages and tokens name it.
    build_call: the HTTP request that starts the work, from the call and its callback URL. `activities.calls` adds the
        idempotency key and sends it.
    read_receipt: reads the immediate 2xx answer; raises `Unreadable`.
    read_callback: reads a callback's body, after every check; raises `Unreadable`.
    auth: how requests to the partner are authenticated.
    content_type: the media type of its callbacks; any other is answered 415.
    loopback_only: a stand-in, refused where PUBLIC_URL is public.
    """

    name: str
    build_call: Callable[[StageCall, str], httpx.Request]
    read_receipt: Callable[[httpx.Response], Receipt]
    read_callback: Callable[[bytes], Answer]
    auth: httpx.Auth | None = None
    content_type: str = "application/json"
    loopback_only: bool = False


PartnerFactory = Callable[[Environment], Partner]
"""What a partner's file offers: its `Partner`, made from the variables that it names and needs."""
