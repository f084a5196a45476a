"""Settings for `stagehook dev` on free ports, in a folder of its own."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from receiver.cli.demo.processes import bare_environment, free_port
from receiver.cli.dev.settings_file import make_settings_file, read_settings_file


def dev_settings(folder: Path) -> dict[str, str]:
    """Make `.env` in the folder as `stagehook dev` does, but on free ports; return its variables."""
    file = folder / ".env"
    make_settings_file(file)
    text = file.read_text()
    for default in ("8000", "8090", "7233"):
        text = text.replace(default, str(free_port()))
    file.write_text(text)
    return read_settings_file(file)


def dev_environment(folder: Path, **env: str) -> dict[str, str]:
    """The environment of a command in this folder, which holds no settings but these."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return {**bare_environment(), "TMPDIR": str(folder), "PATH": path, **env}
