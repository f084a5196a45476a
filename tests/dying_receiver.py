"""A receiver that kills itself at a chosen moment: `before` its first signal is sent, or `after` Temporal took it.

Everything else is the real receiver, with the environment's settings.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

import uvicorn

from activities.callback_urls import CallbackURLs
from activities.client import connect
from receiver.app import create_app
from receiver.sending.signals import Reached, Signals
from receiver.server import uvicorn_options
from receiver.settings import WebSettings


class Dying(Signals):
    """Temporal, for a process that does not outlive its first signal."""

    async def send(self, *args: Any, **options: Any) -> Reached:
        if sys.argv[1] == "after":
            await super().send(*args, **options)
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("still alive")


def main() -> None:
    settings = WebSettings.from_env(os.environ)
    urls = CallbackURLs(settings.shared.public_url, settings.shared.callback_keys)
    app = create_app(
        urls, settings.shared.partners, Dying(lambda: connect(os.environ, lazy=True)), store=settings.shared.store
    )
    uvicorn.run(app, host="127.0.0.1", port=settings.shared.port, **uvicorn_options())


if __name__ == "__main__":
    main()
