"""Captured requests of many forms, from which `stagehook partner new` writes a partner."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

from activities.callback_urls import CallbackURLs
from tests.parts.callbacks import CLAIMS
from tests.support import KEY

ROOT = Path(__file__).parents[2]
DELIVERIES = "tests/test_deliveries.py"
CAPTURED = b"""POST /hooks HTTP/1.1
Content-Type: application/json; charset=utf-8
Authorization: Bearer a-credential

{"event": {"type": "check.done"}, "id": "x"}"""

CODE = '__import__("os").system("touch pwned")'
ODD_TEXTS = (
    "it's",
    'a "quote"',
    'it\'s a "quote"',
    "back\\slash\\",
    "caf\u00e9",
    "\U0001f600",
    "two\nlines",
    "$name ${VAR} {x}",
    "",
    f'"): {CODE} #',
    f"'): {CODE} #",
)


def captured(body: object, content_type: str = "application/json") -> bytes:
    return f"POST / HTTP/1.1\nContent-Type: {content_type}\n\n{json.dumps(body, ensure_ascii=False)}".encode()


CAPTURES = (
    b"",
    b"",
    CAPTURED,
    *(captured({text: {"status": text}}, "application/vnd.acme+json") for text in ODD_TEXTS),
    *(captured({name: {"status": "s"}}) for name in ("result", "code", "message")),
    *(captured({"status": word}) for word in ("done", "failed", "working", "odd")),
    captured({"result": "a text"}),
    b'POST / HTTP/1.1\nX-No: content type\n\n{"status": "s"}',
    captured({'it\'s case "working":': {"status": 'New partner, NEW_PARTNER, "result"'}}),
)
"""Requests with keys and texts of any kind, those that would run as code among them; b"" for none."""


def of_type(content_type: str, body: bytes) -> bytes:
    return b"POST /hooks HTTP/1.1\r\nHost: hooks.example.com\r\nContent-Type: %s\r\n\r\n%s" % (
        content_type.encode(),
        body,
    )


TOKEN = CallbackURLs("https://hooks.test", [KEY]).issue(CLAIMS)
FORM = "application/x-www-form-urlencoded"
PARTS = b'--x\r\nContent-Disposition: form-data; name="%s"\r\n\r\ndelivered\r\n--x--\r\n'
WEBHOOK = {"webhook_type": "VERIFICATION", "webhook_code": "STATUS_UPDATED", "verification_id": "v-1"}
LIST = [{"sg_message_id": "m-1", "event": "processed"}, {"sg_message_id": "m-2", "event": "delivered"}]
ITEMS = {"live": "false", "items": [{"item": {"eventCode": "AUTHORISED", "pspReference": "p-1", "success": "true"}}]}
XML = b'<?xml version="1.0"?><e xmlns="urn:e"><envelope><id>e-1</id><Status>Completed</Status></envelope></e>'
HAR = {
    "request": {
        "method": "POST",
        "url": "https://hooks.test/x",
        "headers": [{"name": ":path", "value": "/x"}, {"name": "content-type", "value": "application/json"}],
        "postData": {"mimeType": "application/json", "text": json.dumps(WEBHOOK)},
    }
}
CURL = b"""$ curl -v -H 'Content-Type: application/json' https://hooks.test/x \\
  -d '{"status":
"done"}'
* Connected to hooks.test
> POST /x HTTP/1.1
> Host: hooks.test
> Content-Type: application/json
>
* upload completely sent off: 17 bytes
< HTTP/1.1 202 Accepted
<
{"answer": "accepted"}
"""

SHAPES: tuple[tuple[str, bytes, tuple[str, ...]], ...] = (
    ("two", b"", ()),
    ("three", b"", ()),
    ("two", captured({"data": {"status": "paid", "metadata": {"callback": TOKEN}}}), ()),
    ("two", captured({"type": "charge.failed", "data": {"object": {"id": "ch-1", "metadata": {}}}}), ()),
    ("two", captured(LIST), ()),
    ("two", of_type("text/xml", XML), ()),
    ("two", of_type(FORM, b"MessageStatus=sent&MessageSid=s-1"), ()),
    ("two", of_type("multipart/form-data; boundary=x", PARTS % b"event"), ()),
    ("three", captured(WEBHOOK), ()),
    ("three", captured(LIST), ()),
    ("three", captured(ITEMS), ()),
    ("three", captured({"id": "e-1", "type": "report.completed", "data": {"object": {"id": "r-1"}}}), ()),
    ("three", of_type(FORM, b"id=tr_d0"), ()),
    ("three", of_type(FORM, b"id=1&id=2&status=x"), ()),
    ("three", of_type("text/xml", XML), ()),
    ("three", of_type("multipart/form-data; boundary=x", PARTS % b"event"), ()),
    ("three", captured({"status": "done", "result": {"id": "w-1"}}), ()),
    ("one", captured(LIST), ()),
    ("one", captured({"value": [{"subscriptionId": "s", "changeType": "updated"}]}), ()),
    ("one", of_type(FORM, b"id=tr_d0"), ()),
    ("one", of_type("multipart/form-data; boundary=x", PARTS % b"number"), ()),
    ("one", of_type("text/plain; charset=UTF-8", b'{\n  "Type": "Notification",\n  "Message": "{}"\n}'), ()),
    ("one", of_type("application/json", b'\xef\xbb\xbf{"status": "done"}'), ()),
    ("one", of_type("application/json", b'{"status": "done", "a": 1, "a": 2, "b": "\\ud800"}'), ()),
    ("two", of_type("application/json", b'\xef\xbb\xbf{"state": 3, "a": 1, "a": 2}'), ()),
    ("one", of_type("application/json\r\nContent-Encoding: gzip", gzip.compress(b'{"status": "done"}')), ()),
    ("three", of_type("application/json\r\nContent-Encoding: gzip", gzip.compress(b'{"status": "done"}')), ()),
    ("three", json.dumps(HAR).encode(), ()),
    ("one", CURL, ()),
    ("one", b'{"status":"done"}\n', ()),
    ("three", json.dumps(LIST).encode(), ()),
    ("two", b"state=done&id=5", ("--header", f"Content-Type: {FORM}", "--header", "X-Id: 5")),
)
"""Callbacks of each kind of partner and in every form, each with further options of the command."""
