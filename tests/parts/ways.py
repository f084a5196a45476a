"""The ways to sign that docs/signatures.md lists: each line of its tables, set up with secrets of its own."""

from __future__ import annotations

import ast
import base64
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from activities.signatures import SCHEMES, Scheme, SignedRequest
from tests.parts.rsa_keys import RSA
from tests.parts.setups import EC, ED, NOW, SETUPS, URL, private_pem, public_pem

PAGE = (Path(__file__).parents[2] / "docs" / "signatures.md").read_text()
LINE = re.compile(r'^\| ([^`|][^|]*) \| `("[a-z0-9-]+".*)` \|$', re.MULTILINE)

JSON_BODY: dict[str, Any] = {
    "id": 12,
    "triggeredAt": NOW * 1000,
    "webhookTimestamp": NOW * 1000,
    "token": "t-1",
    "signature": {"token": "t-1"},
    "event": {"type": "done", "time": NOW},
    "eventCreated": NOW,
    "eventId": "e-1",
    "order_id": "o-1",
    "status_code": "200",
    "gross_amount": "10.00",
}
JSON_TYPE = ("Content-Type", "application/json")
FORM_TYPE = ("Content-Type", "application/x-www-form-urlencoded")
EVENT = {"event": {"event_time": str(NOW), "event_type": "signed"}}


KEYED = {"jwt", "detached-jws", "public-key", "http-message-signatures"}
"""Schemes whose algorithm says which key they take."""


@dataclass(frozen=True)
class Way:
    """A line: who signs so, the scheme and its options."""

    who: str
    name: str
    options: dict[str, Any]

    def scheme(self, secret: str = "", **changes: Any) -> Scheme:
        return SCHEMES[self.name](secrets=[secret or self.secret()], **{**self._private, **self.options, **changes})

    def secret(self, of: bytes = b"0123456789abcdef0123456789abcdef") -> str:
        if self.algorithm.startswith(("HS", "hmac")):
            return of.decode()
        if self._pair:
            return public_pem(self._pair)
        if self.name not in {"hmac", "header-secret"}:
            return next(setup for setup in SETUPS.values() if setup.name == self.name).secrets[0]
        kind = self.options.get("key", "text")
        return {"base64": base64.b64encode(of).decode(), "hex": of.hex()}.get(kind, of.decode())

    def request(self) -> SignedRequest:
        """A request that is not signed yet."""
        if self.name in {"adyen-classic", "sns"}:
            return SignedRequest("POST", URL, [], SETUPS[self.name].body)
        if "field:json." in str(self.options):
            return SignedRequest("POST", URL, [FORM_TYPE], b"json=" + _escaped(json.dumps(EVENT)))
        if self.name == "twilio" or "bt_" in str(self.options) or "{form" in self.options.get("signed", ""):
            return SignedRequest("POST", URL, [FORM_TYPE], b"To=%2B1&bt_payload=abc")
        return SignedRequest("POST", URL, [JSON_TYPE], json.dumps(JSON_BODY).encode())

    def signed(self, now: float = NOW) -> SignedRequest:
        return self.scheme().sign_request(self.request(), now=now, delivery_id="msg-1")

    @property
    def algorithm(self) -> str:
        """That of a token or a public key."""
        return str(self.options["algorithm"]) if self.name in KEYED else ""

    @property
    def _pair(self) -> Any:
        pairs = {"RS": RSA, "PS": RSA, "rsa": RSA, "ES": EC, "ecdsa": EC, "Ed": ED, "ed": ED}
        return next((pair for begin, pair in pairs.items() if self.algorithm.startswith(begin)), None)

    @property
    def _private(self) -> dict[str, Any]:
        if self.algorithm:
            return {"private_key": private_pem(self._pair)} if self._pair else {}
        if self.name in {"sns", "paypal"}:
            return SETUPS[self.name].options
        setups = [setup.options for setup in SETUPS.values() if setup.name == self.name]
        return {"private_key": setups[0]["private_key"]} if setups and "private_key" in setups[0] else {}


def _escaped(text: str) -> bytes:
    return "".join(f"%{byte:02X}" for byte in text.encode()).encode()


def read_ways(page: str = PAGE) -> list[Way]:
    """Read the lines of the tables."""
    found = []
    for who, written in LINE.findall(page):
        call = ast.parse(f"f({written.replace(chr(92) + '|', '|')})", mode="eval").body
        assert isinstance(call, ast.Call)
        options = {str(keyword.arg): ast.literal_eval(keyword.value) for keyword in call.keywords}
        found.append(Way(who, ast.literal_eval(call.args[0]), options))
    return found


WAYS = read_ways()
