"""A Temporal that knows no run, and callback URLs that another key has signed."""

from __future__ import annotations

from typing import Any

from activities.callback_urls import CallbackURLs
from activities.signatures import SCHEMES
from receiver.sending.signals import Reached, Signals
from tests.parts.callbacks import BASE, no_temporal

SQUARE = SCHEMES["square"](secrets=["secret"])


ELSEWHERE = CallbackURLs(BASE, ["another-key-of-at-least-32-characters"])


class Unknown(Signals):
    """A Temporal that knows no run."""

    def __init__(self) -> None:
        super().__init__(no_temporal)

    async def send(self, *args: Any, **options: Any) -> Reached:
        return Reached.UNKNOWN
