"""A partner that sends every callback to one URL, with the token in the body."""

from __future__ import annotations

import json
import time
from typing import Any

import httpx

from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.reading import read_object, text_at
from activities.signatures import SCHEMES, Scheme
from tests.parts.callbacks import BASE, DONE

PLAIN = sandbox.partner("bank", Environment({}))


GITHUB = SCHEMES["github"](secrets=["secret"])


def read_token(body: bytes) -> str:
    return text_at(read_object(body), "metadata", "callback")


async def post(http: httpx.AsyncClient, url: str, body: Any, scheme: Scheme | None = GITHUB) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    url = url if url.startswith("http") else BASE + url
    proof = scheme.sign(content, url=url, now=time.time(), delivery_id="d-1") if scheme else []
    return await http.post(url, content=content, headers=[("Content-Type", "application/json"), *proof])


def carrying(url_or_token: str) -> dict[str, Any]:
    return {**DONE, "metadata": {"callback": url_or_token}}
