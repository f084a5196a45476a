"""Run `stagehook` in this process, as if with an environment of its own."""

from __future__ import annotations

from dataclasses import dataclass

from click.testing import CliRunner

from receiver.cli import run
from receiver.cli.demo.processes import bare_environment


@dataclass(frozen=True)
class Done:
    """How a command ended, and what it wrote."""

    code: int
    out: str
    err: str


def command(*args: str, given: bytes = b"", **env: str) -> Done:
    """Run the command with these variables and none that would lead it to a real system."""
    keep = dict.fromkeys(("PUBLIC_URL", "CALLBACK_KEYS", "PARTNERS", "DATABASE_URL"))
    with CliRunner().isolation(given, {**keep, **bare_environment(), **env}) as (out, err, _):
        code = run(args)
        return Done(code, out.getvalue().decode(), err.getvalue().decode())
