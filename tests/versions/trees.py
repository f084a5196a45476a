"""Two versions of this project: the working tree, and an earlier commit with its own dependencies."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
INSTALL_WITHIN: Final = 240.0
"""Seconds for an installation. It takes one second where uv has the packages in its cache."""

REPLAY_WITHIN: Final = 60.0
SCRIPT: Final = Path(__file__).with_name("replay_histories.py")


class NoSuchVersion(Exception):
    """The old version cannot be checked out. The message names it, and says what to do."""


@dataclass(frozen=True)
class Tree:
    """A version: its folder, and the interpreter of its environment."""

    name: str
    folder: Path
    python: Path

    def command(self, *args: str) -> list[str]:
        """Return the command that runs this version's `stagehook`."""
        return [str(self.python.with_name("stagehook")), *args]

    def environment(self, env: dict[str, str]) -> dict[str, str]:
        """Return the variables without those that would lead this version to another version's code."""
        return {name: value for name, value in env.items() if name not in {"PYTHONPATH", "VIRTUAL_ENV"}}

    def home(self) -> Path:
        """Return the folder that this version's processes import their code from."""
        told = self._run("-c", "import receiver; print(receiver.__path__[0])", within=30.0)
        return Path(told.strip()).parent

    def replay_failures(self, histories: Path) -> str:
        """Replay the histories of a folder with this version's code; return a line for each that fails."""
        return self._run(str(SCRIPT), str(histories), within=REPLAY_WITHIN)

    def _run(self, *args: str, within: float) -> str:
        # -P: a script's own folder is not searched for modules.
        command, env = [str(self.python), "-P", *args], self.environment(dict(os.environ))
        done = subprocess.run(
            command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=within, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


def new_tree() -> Tree:
    """The working tree as it is, with changes that are not committed."""
    return Tree("new", ROOT, Path(sys.executable))


def old_tree(revision: str, folder: Path) -> Tree:
    """Unpack a commit into the folder, with an environment as its lock file says; raises `NoSuchVersion`.

    revision: anything that git takes for a commit.
    """
    commit = _commit(revision)
    packed = subprocess.run(_git("archive", commit), capture_output=True, check=True)
    subprocess.run(["tar", "-x", "-C", str(folder)], input=packed.stdout, check=True)
    tree = Tree("old", folder, folder / ".venv" / "bin" / "python")
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    base = {"UV_PYTHON": str(Path(sys.base_prefix) / "bin" / "python3"), "UV_PYTHON_DOWNLOADS": "never"}
    subprocess.run(
        [uv, "sync", "--locked", "--no-default-groups", "--quiet"],
        cwd=folder,
        env={**base, **tree.environment(dict(os.environ))},
        timeout=INSTALL_WITHIN,
        check=True,
    )
    return tree


def _commit(revision: str) -> str:
    if not revision:
        raise NoSuchVersion("no old version is named: run `make versions`, or `make versions OLD=COMMIT`")
    found = subprocess.run(
        _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}"),
        capture_output=True,
        text=True,
        check=False,
    )
    if found.returncode != 0:
        raise NoSuchVersion(
            f"this clone has no commit {revision!r}: fetch it with `git fetch --unshallow --tags`, "
            "or name another one with `make versions OLD=COMMIT`"
        )
    return found.stdout.strip()


def _git(*args: str) -> list[str]:
    return ["git", "-C", str(ROOT), *args]
