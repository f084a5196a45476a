"""Assets: the console's style sheet and script, each at an address that changes with its content."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

STATIC_FOLDER: Final = Path(__file__).parent / "static"
STATIC_TYPES: Final[Mapping[str, str]] = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
STATIC_PATH: Final = "/static/"


class Assets:
    """The files in `static/`. They are read once."""

    def __init__(self) -> None:
        self._paths: dict[str, str] = {}
        self._files: dict[str, tuple[bytes, str]] = {}
        for file in sorted(STATIC_FOLDER.iterdir()):
            content = file.read_bytes()
            name = f"{file.stem}-{hashlib.sha256(content).hexdigest()[:12]}{file.suffix}"
            self._paths[file.name] = f"{STATIC_PATH}{name}"
            self._files[name] = (content, STATIC_TYPES[file.suffix])

    def path(self, name: str) -> str:
        """The path of a file within the console; raises KeyError for an unknown name."""
        return self._paths[name]

    def routes(self) -> list[Route]:
        """The route that serves the files."""
        return [Route(f"{STATIC_PATH}{{name}}", self._serve)]

    async def _serve(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        content, kind = self._files[name]
        return Response(content, media_type=kind, headers={"Cache-Control": "public, max-age=31536000, immutable"})
