"""`stagehook signature`, run in this process."""

from __future__ import annotations

import contextlib
import io
import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

from receiver.cli import run

GITHUB = ("--scheme", "github", "--secret-env", "SECRET")


STRIPE = ("--scheme", "stripe", "--secret-env", "SECRET")


SECRETS = {"SECRET": "a-shared-secret", "PUBLIC_URL": ""}


BODY = b'{"a": 1}'


@dataclass(frozen=True)
class Done:
    """How a command ended in this process."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@contextlib.contextmanager
def redirected() -> Iterator[tuple[io.StringIO, io.StringIO]]:
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        yield out, err


def command(*args: str, given: bytes = b"", env: Mapping[str, str] = SECRETS) -> Done:
    """Run `stagehook signature` here: a process each would take half a second."""
    stdin = io.TextIOWrapper(io.BytesIO(given))
    with patch.dict("os.environ", env), patch.object(sys, "stdin", stdin), redirected() as (out, err):
        code = run(["signature", *args])
    return Done(code, out.getvalue(), err.getvalue())


def refused(done: Done, code: int = 2) -> str:
    """Check that it failed with what happened and what to do, on two lines of stderr, and said nothing else."""
    assert done.code == code, done.out + done.err
    what, advice = done.err.splitlines()
    assert what.startswith("error: ")
    assert advice.startswith("  try: ")
    assert done.out == ""
    assert "Traceback" not in done.err
    assert "STAGEHOOK_TRACEBACK" not in done.err
    return what


def signed_headers(*args: str, body: bytes = BODY) -> list[str]:
    done = command("sign", *args, given=body)
    assert done.code == 0, done.err
    return done.out.splitlines()
