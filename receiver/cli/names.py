"""Names that a TAB completes, and their sources. The modules that list them are too heavy to import for a TAB.

Commands that import partners and pipelines anyway store their names in a file. The ids of runs are read by a separate
process, which is killed after `RUNS_TIMEOUT`.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem
from click.types import StringParamType

from activities.signatures import SCHEMES
from receiver.cli.terminal import CONTROLS, printable

SOURCES: Final = {
    "partners": ("activities.partners", "PARTNERS"),
    "pipelines": ("workflows.pipelines", "PIPELINES"),
}
"""For each kind of name: the module that has them, and the attribute in it."""

RUNS_TIMEOUT: Final = 0.75
"""Seconds for Temporal to list its runs. Including the start of this process, a TAB takes at most one second."""

RUNS_LIMIT: Final = 100

LONGEST_ID: Final = 1_000
"""Bytes of UTF-8 in an id, as Temporal limits it."""


class Name(StringParamType):
    """A text that a TAB completes. names: returns the names at the time of the TAB. Other texts are accepted too."""

    def __init__(self, names: Callable[[], Iterable[str]]) -> None:
        self._names = names

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the printable names that begin with `incomplete`: a name with a line feed would become two words."""
        found = (name for name in self._names() if name.startswith(incomplete) and name.isprintable())
        return [CompletionItem(name) for name in found]


class Id(StringParamType):
    """The id of a run or a command. An empty id is a usage error, as from an unset variable of a script, or a long one.

    is_new: the id may be given to something new, so it may hold no control character.
    """

    def __init__(self, *, is_new: bool = False) -> None:
        self._is_new = is_new

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the id; fails as a click type does."""
        text: str = super().convert(value, param, ctx)
        if ctx and param and ctx.get_parameter_source(param.name or "") is ParameterSource.DEFAULT:
            return text
        if flaw := self._flaw(text):
            self.fail(flaw, param, ctx)
        return text

    def _flaw(self, text: str) -> str:
        size = len(text.encode("utf-8", "surrogatepass"))
        if not text.strip():
            return "the id is empty"
        if size > LONGEST_ID:
            return f"the id has {size} bytes, more than {LONGEST_ID}"
        if self._is_new and (found := re.search(rf"[\t\n]|{CONTROLS.pattern}", text)):
            return f"the id holds the control character {printable(found[0])}"
        return ""


class RunId(Id, Name):
    """The id of a run that exists, which a TAB completes."""

    def __init__(self) -> None:
        Id.__init__(self)
        Name.__init__(self, latest_runs)


class VerdictName(StringParamType):
    """A verdict's name. The list of verdicts is imported only when a value is given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the verdict's name; fails as a click choice does."""
        from receiver.answers import Verdict

        choice = click.Choice([verdict.name.lower() for verdict in Verdict])
        name: str = choice.convert(value, param, ctx)
        return name


def recall(kind: str) -> list[str]:
    """Return the stored names of this kind; [] if the file is missing or damaged."""
    names = _read_cache().get(kind)
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


def remember() -> None:
    """Store the names that this process knows, if they have changed. Fails silently, so that no command fails by it."""
    known = _read_cache()
    new = {**known, **_loaded()}
    if new != known:
        with contextlib.suppress(OSError, RuntimeError):
            _write(_file(), json.dumps(new))


def latest_runs() -> list[str]:
    """Return the ids of the latest runs; [] without TEMPORAL_ADDRESS, or if Temporal does not answer in time."""
    if not os.environ.get("TEMPORAL_ADDRESS", "").strip():
        return []
    # -P: do not import a module from the working directory in place of ours.
    program = [sys.executable, "-P", "-c", "from receiver.cli import main; main()"]
    words = ["pipeline", "list", "--json", "--limit", str(RUNS_LIMIT)]
    # This variable would make that command complete words too.
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
    """Return the file's path; raises `RuntimeError` if the user has no home directory."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    folder = Path(given) if given.startswith("/") else Path.home() / ".cache"
    return folder / "stagehook" / "names.json"


def _read_cache() -> dict[str, Any]:
    try:
        known = json.loads(_file().read_text("utf-8"))
    except (OSError, RuntimeError, ValueError, RecursionError):
        return {}
    return known if isinstance(known, dict) else {}


def _loaded() -> dict[str, list[str]]:
    """Return the names from modules that are already imported."""
    loaded = {kind: getattr(sys.modules.get(module), name, ()) for kind, (module, name) in SOURCES.items()}
    return {kind: sorted(names) for kind, names in loaded.items() if names}


def _write(file: Path, text: str) -> None:
    """Replace the file atomically; only its owner can read it."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    new = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
            stream.write(text)
        new.replace(file)
    except OSError:
        new.unlink(missing_ok=True)
        raise


SCHEME: Final = Name(lambda: (*sorted(SCHEMES), "none"))
PARTNER: Final = Name(lambda: recall("partners"))
PIPELINE: Final = Name(lambda: recall("pipelines"))
RUN_ID: Final = RunId()
NEW_ID: Final = Id(is_new=True)
VERDICT: Final = VerdictName()
