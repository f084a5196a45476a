"""What a command must have printed when it succeeds or fails."""

from __future__ import annotations

import json
import subprocess
from typing import Any

Done = subprocess.CompletedProcess[bytes]


def said(done: Done) -> Any:
    assert done.returncode == 0, done.stderr.decode()
    return json.loads(done.stdout)


def refused(done: Done, code: int) -> str:
    """Check that the command failed with what happened and what to do on stderr, and said nothing on stdout."""
    assert done.returncode == code, done.stderr.decode()
    what, *more, advice = done.stderr.decode().strip().splitlines()
    assert what.startswith("error: ")
    assert advice.startswith("  try: ")
    assert more == [] or "settings" in what
    assert done.stdout == b""
    return done.stderr.decode()
