"""Forms: the ways in which partners write the body of a callback, and how a partner's file reads each."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlencode
from xml.etree.ElementTree import Element, SubElement, tostring
from xml.sax.saxutils import escape

from activities import strict_json
from activities.partners.received import Received, Unreadable

FieldPath = tuple[str, ...]
"""The names that lead from an event to a text in it."""

BOUNDARY: Final = "b"


@dataclass(frozen=True)
class Form:
    """A form of a body.

    reader: the method of `Received` that reads it, as a partner's file calls it. read: reads it into objects, lists and
    texts. write: makes the body of an object, for a test. add: adds a text to a body, at a path. is_flat: whether it
    has fields only, and no objects in them. options: follow the media type in a test's Content-Type.
    """

    reader: str
    read: Callable[[Received], Any]
    write: Callable[[Any], bytes]
    add: Callable[[Received, FieldPath, str], bytes]
    is_flat: bool = False
    options: str = ""


def form_of(received: Received) -> Form:
    """Return the form of a request's body; raises `Unreadable`."""
    named = {"application/x-www-form-urlencoded": FIELDS, "multipart/form-data": MULTIPART}
    likely = [named[received.media_type]] if received.media_type in named else []
    for form in (*likely, JSON, LENIENT_JSON, XML):
        try:
            form.read(received)
        except Unreadable:
            continue
        return form
    if likely:
        likely[0].read(received)
    raise Unreadable("it is neither JSON nor XML, and its Content-Type names no form")


def nested(path: FieldPath, value: Any) -> Any:
    """Return an object with the value at the path."""
    for name in reversed(path):
        value = {name: value}
    return value


def merged(*values: Any) -> Any:
    """Return one object with the members of these objects, and of the objects within them."""
    found: dict[str, Any] = {}
    for value in values:
        for name, inner in value.items():
            both = isinstance(inner, Mapping) and isinstance(found.get(name), Mapping)
            found[name] = merged(found[name], inner) if both else inner
    return found


def at(value: Any, path: FieldPath) -> Any:
    """Return the value at a path through objects."""
    for name in path:
        value = value[name]
    return value


def _write_json(value: Any) -> bytes:
    return json.dumps(value, default=str).encode()


def _add_json(received: Received, path: FieldPath, text: str) -> bytes:
    value = inner = strict_json.loads_lenient(received.text(lenient=True))
    for name in path[:-1]:
        # The path leads through lists at the first event of several.
        inner = inner[0] if isinstance(inner, list) else inner
        inner = inner.setdefault(name, {})
    inner = inner[0] if isinstance(inner, list) else inner
    inner[path[-1]] = text
    return _write_json(value)


def _write_fields(value: Mapping[str, str]) -> bytes:
    return urlencode(value).encode()


def _add_field(received: Received, path: FieldPath, text: str) -> bytes:
    return b"&".join(filter(None, [received.body, f"{path[-1]}={quote(text, safe='{}/')}".encode()]))


def _write_multipart(value: Mapping[str, str]) -> bytes:
    return b"".join(_field(BOUNDARY.encode(), name, text) for name, text in value.items()) + b"--b--\r\n"


def _add_part(received: Received, path: FieldPath, text: str) -> bytes:
    boundary = received.body[2:].split(b"\r\n", 1)[0]
    return _field(boundary, path[-1], text) + received.body


def _field(boundary: bytes, name: str, text: str) -> bytes:
    quoted = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
    head = f'Content-Disposition: form-data; name="{quoted}"'
    return b"--%s\r\n%s\r\n\r\n%s\r\n" % (boundary, head.encode(), text.encode())


def _read_xml(received: Received) -> Any:
    return _as_object(received.xml())


def _as_object(element: Element) -> Any:
    """Return an element's children by name, the first of several with one name; the text of one without children."""
    if len(element) == 0:
        return element.text or ""
    found: dict[str, Any] = {}
    for child in element:
        found.setdefault(_local_name(child), _as_object(child))
    return found


def _local_name(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _write_xml(value: Any) -> bytes:
    return f"<event>{_elements(value)}</event>".encode()


def _elements(value: Any) -> str:
    if isinstance(value, Mapping):
        return "".join(f"<{name}>{_elements(inner)}</{name}>" for name, inner in value.items())
    return escape(str(value))


def _add_element(received: Received, path: FieldPath, text: str) -> bytes:
    root = element = received.xml()
    for name in path[:-1]:
        child = element.find(f"{{*}}{name}")
        element = SubElement(element, name) if child is None else child
    SubElement(element, path[-1]).text = text
    return tostring(root)


JSON: Final = Form("json()", lambda received: received.json(), _write_json, _add_json)
LENIENT_JSON: Final = Form("json(lenient=True)", lambda received: received.json(lenient=True), _write_json, _add_json)
FIELDS: Final = Form("form()", lambda received: received.form(), _write_fields, _add_field, is_flat=True)
MULTIPART: Final = Form(
    "multipart()",
    lambda received: received.multipart(),
    _write_multipart,
    _add_part,
    is_flat=True,
    options=f"; boundary={BOUNDARY}",
)
XML: Final = Form("xml()", _read_xml, _write_xml, _add_element)
