"""cancel_on_signals: what ends a command that has something to put in order."""

from __future__ import annotations

import asyncio
import signal


def cancel_on_signals() -> None:
    """Let a `kill` or a closed terminal end the current task as Ctrl-C does; under `nohup` the latter does not."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, lambda: task.cancel() if task else None)
