"""Run `stagehook` with another clock: `SHIFT=SECONDS python -m tests.chaos.shifted COMMAND`."""

from __future__ import annotations

import os
import time

from receiver.cli import main

SHIFT, REAL = float(os.environ["SHIFT"]), time.time


def shifted() -> float:
    return REAL() + SHIFT


# uvicorn's further processes import this module too, but do not run it.
time.time = shifted

if __name__ == "__main__":
    main()
