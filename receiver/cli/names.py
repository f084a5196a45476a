"""Names that a TAB completes, and where they come from: what lists them is heavy, so it is never asked while one types.

Partners and pipelines are remembered in a file by the commands that have imported them anyhow. Runs are asked
for by a process of their own, which is given up after `RUNS_TIMEOUT`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click
from click.shell_completion import CompletionItem
from click.types import StringParamType

SCHEMES: Final = (
    "adyen-platform",
    "basic",
    "bearer",
    "discord",
    "docusign",
    "github",
    "hmac",
    "onfido",
    "paddle",
    "persona",
    "sendgrid",
    "shopify",
    "slack",
    "square",
    "standard-webhooks",
    "stripe",
    "svix",
    "twilio",
    "zoom",
)
"""Every scheme of `activities.signatures.SCHEMES`, which imports cryptography; a test compares the two."""

DEFAULT_TOLERANCE: Final = 300
"""Seconds; that of `activities.signatures.scheme`."""

SOURCES: Final = {
    "partners": ("activities.partners", "PARTNERS"),
    "pipelines": ("workflows.pipelines", "PIPELINES"),
}
"""By kind: a module, and what in it has the names."""

RUNS_TIMEOUT: Final = 0.75
"""Seconds for Temporal to list its runs; with the start of this process a TAB takes at most one second."""

RUNS_LIMIT: Final = 100


class Name(StringParamType):
    """A text that a TAB completes. names: looks them up at that moment; other texts are taken too."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The names that begin with what is typed, on one line each: a line feed would make two words of a name."""
        found = (name for name in self._names() if name.startswith(incomplete) and name.isprintable())
        return [CompletionItem(name) for name in found]


class VerdictName(StringParamType):
    """One of the verdicts; what they are is looked up when one is given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The verdict's name; fails as a choice does."""
        from receiver.answers import Verdict

        choice = click.Choice([verdict.name.lower() for verdict in Verdict])
        name: str = choice.convert(value, param, ctx)
        return name


def recall(kind: str) -> list[str]:
    """The names of this kind that are remembered; none where the file is missing or damaged."""
    names = _read().get(kind)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def remember() -> None:
    """Keep the names that this process knows, if they have changed. Fails silently: it is no command's business."""
    known = _read()
    new = {**known, **_loaded()}
    if new != known:
        with contextlib.suppress(OSError, RuntimeError):
            _write(_file(), json.dumps(new))


def latest_runs() -> list[str]:
    """The ids of the latest runs; none without TEMPORAL_ADDRESS, or where Temporal does not answer in time."""
    if not os.environ.get("TEMPORAL_ADDRESS", "").strip():
        return []
    # -P: a module of the working directory must not be imported in place of ours.
    program = [sys.executable, "-P", "-c", "from receiver.cli import main; main()"]
    words = ["pipeline", "list", "--json", "--limit", str(RUNS_LIMIT)]
    # This variable would make the command complete, too.
    env = {name: value for name, value in os.environ.items() if name != "_STAGEHOOK_COMPLETE"}
    try:
        done = subprocess.run(
            [*program, *words],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=RUNS_TIMEOUT,
            check=True,
        )
        return [run["workflow_id"] for run in json.loads(done.stdout)]
    except (OSError, ValueError, subprocess.SubprocessError):
        return []


def _file() -> Path:
    """Raises `RuntimeError` where there is no home."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return folder / "stagehook" / "names.json"


def _read() -> dict[str, Any]:
    try:
        known = json.loads(_file().read_text("utf-8"))
    except (OSError, RuntimeError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _loaded() -> dict[str, list[str]]:
    """The names by modules that are imported already."""
    loaded = {kind: getattr(sys.modules.get(module), name, ()) for kind, (module, name) in SOURCES.items()}
    return {kind: sorted(names) for kind, names in loaded.items() if names}


def _write(file: Path, text: str) -> None:
    """Replace the file as a whole, readable by its owner alone."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        new.replace(file)
    except OSError:
        new.unlink(missing_ok=True)
        raise


SCHEME: Final = Name(lambda: (*SCHEMES, "none"))
PARTNER: Final = Name(lambda: recall("partners"))
PIPELINE: Final = Name(lambda: recall("pipelines"))
RUN_ID: Final = Name(latest_runs)
VERDICT: Final = VerdictName()
