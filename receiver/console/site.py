"""Site: what the pages of the console share: templates, links, and what they read from."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import jinja2
from itsdangerous import BadData, URLSafeSerializer
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from receiver.console.assets import Assets
from receiver.console.forms import SIGNER, TOKEN_FIELD, FormTokens
from receiver.console.guard import path_within
from receiver.console.options import ConsoleOptions
from receiver.console.sources import Sources
from receiver.console.visits import visit_of
from receiver.console.wording import FILTERS

TEMPLATES: Final = Path(__file__).parent / "templates"
SEAL_SALT: Final = "stagehook.console.seal.v1"
LONGEST_NOTICE: Final = 500


class Site:
    """Renders pages, and makes links and redirects.

    options: where the console is. sources: what pages read from, and act on. tokens: of forms. assets: style sheet and
    script. menu: the path of each entry of the menu, by its name.
    """

    def __init__(
        self, options: ConsoleOptions, sources: Sources, tokens: FormTokens, assets: Assets, menu: Mapping[str, str]
    ) -> None:
        self.options = options
        self.sources = sources
        self._tokens = tokens
        self._seals = URLSafeSerializer(options.key, salt=SEAL_SALT, signer_kwargs=dict(SIGNER))
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.filters.update(FILTERS)
        self._templates.globals.update(
            link=self.link,
            asset=lambda name: self.link(assets.path(name)),
            token_field=TOKEN_FIELD,
            menu=dict(menu),
        )

    def link(self, path: str, /, **query: str | int) -> str:
        """The address of a page, for links and forms: `link("/run", id="a b")` is `/console/run?id=a+b`."""
        return f"{self.options.base}{path}{'?' if query else ''}{urlencode(query, errors='replace')}"

    def render(self, request: Request, template: str, *, status: int = 200, **values: object) -> Response:
        """Render a template. It gets the values, and `visit`, `here` (the page's path), `address` (with its query, for
        a link that loads it again), `now` (unix seconds) and `token(address)`.

        `token` makes the token of a form from the address that the form is sent to, as `link` returns it.
        """
        visit = visit_of(request)
        here = path_within(request)
        query = f"?{request.url.query}" if request.url.query else ""
        text = self._templates.get_template(template).render(
            visit=visit,
            here=here,
            address=f"{self.options.base}{here}{query}",
            now=time.time(),
            notice=self.unseal("notice", request.query_params.get("notice", "")),
            token=partial(self._token, visit.session),
            **values,
        )
        return HTMLResponse(text, status)

    def notice(self, text: str) -> str:
        """A text for the query `notice` of the page that a redirect leads to. It is signed: links cannot forge it."""
        return self.seal("notice", text[:LONGEST_NOTICE])

    def seal(self, purpose: str, text: str) -> str:
        """Sign a text for the query of an address, so that only this console can have made it."""
        return str(self._seals.dumps(text, salt=f"{SEAL_SALT}.{purpose}"))

    def unseal(self, purpose: str, sealed: str) -> str:
        """Return a text that `seal` has signed for this purpose; "" for anything else."""
        try:
            return str(self._seals.loads(sealed, salt=f"{SEAL_SALT}.{purpose}"))
        except BadData:
            return ""

    def redirect(self, address: str) -> Response:
        """Send the browser on to another page, after a POST. address: as `link` returns it."""
        return RedirectResponse(address, 303)

    def _token(self, session: str, address: str) -> str:
        return self._tokens.issue(session, address.removeprefix(self.options.base))
