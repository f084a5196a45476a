"""Copying: writes a new partner's file and its test from those in `receiver.cli.partner.sample`.

The copies have other names and words. A captured request is untrusted text: its values are written with `repr`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from typing import Any, Final

from activities.partners.reading import text_or_empty
from activities.signatures import SCHEMES
from receiver.cli.partner.forms import JSON, merged, nested
from receiver.cli.partner.scaffold import KNOWN, Scaffold

SAMPLE: Final = files("receiver.cli.partner.sample")
LONGEST_LITERAL: Final = 84
"""Bytes of a body that are written on one line of a test."""

WORK: Final = "work-1"
CALLBACK_URL: Final = "https://hooks.example.com/callbacks/t"

SIGNING: Final = 'signature("github", environment, "NEW_PARTNER_SECRET", fix="the signing secret from its dashboard"),'
NOT_SIGNING: Final = "None,  # say here why: the callback URL alone is the proof"
MATCHING: Final = """\
    match text_at(event, "status"):
        case "done":
            return Answer("succeeded", data={"number": text_at(event, "result", "number")})
        case "failed":
            return Answer("failed", code=text_or_empty(event, "code"), message=text_or_empty(event, "message"))
        case "working":
            return Answer("progress")
    raise Unreadable("unknown status")
"""
BODIES: Final = """\
        (b'{"status": "done", "result": {"number": "n-1"}}', Answer("succeeded", data={"number": "n-1"})),
        (b'{"status": "failed", "code": "c", "message": "m"}', Answer("failed", code="c", message="m")),
        (b'{"status": "working"}', Answer("progress")),
"""
ODD_BODY: Final = """, b'{"status": "odd"}'])"""
READING: Final = """\
def read_event(received: Received) -> Event:
    \"\"\"Read a callback.\"\"\"
    event = read_object(received)
    return Event(read_answer(event))
"""
SPLITTING: Final = """\
def split(received: Received) -> Sequence[Part]:
    \"\"\"Split a request into its events.\"\"\"
    return [received.part(item) for item in items_at(%s)]


def read_event(part: Received) -> Event:
    \"\"\"Read an event.\"\"\"
    event = part.json()
"""
BEGINNING: Final = "from activities.environment import Environment\nfrom activities.http import Request, Response\n"
PARTNER_FIELDS: Final = "        read_event=read_event,\n        auth="
RECEIPT: Final = 'Receipt(reference=text_or_empty(read_object(response), "id"))'
CALL_BODY: Final = '{"reference": work_reference(call), "data": call.data, "callback_url": callback_url}'
HAS_URL: Final = '    assert sent["callback_url"].startswith("https://hooks.example.com/callbacks/")\n'
PARTNER_CALLS: Final = '        calls = PartnerCalls(http, URLS, {"new-partner": partner})\n'
TEST_BEGIN: Final = "async def test_the_call_carries_data_key_and_callback_url() -> None:\n"


def copy(scaffold: Scaffold, file: str) -> str:
    """Return a file of the sample, with this partner's names and words."""
    return _replaced(SAMPLE.joinpath(file).read_text("utf-8"), sample_changes(scaffold))


def names_in_its_test(scaffold: Scaffold) -> set[str]:
    """Return every name in the test's code, except the partner's name."""
    return names_in(copy(replace(scaffold, name="_"), "test_new_partner.py"))


def names_in(code: str) -> set[str]:
    """Return every name that Python code defines or uses."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(code)):
        match node:
            case ast.Name(id=name) | ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
            case ast.alias(name=name, asname=given):
                names.add(given or name)
    return names


def sample_changes(scaffold: Scaffold) -> dict[str, str]:
    """Return the texts of the sample that are replaced, each with what replaces it."""
    return {
        **_names(scaffold),
        **_signing(scaffold),
        **_calling(scaffold),
        **_splitting(scaffold),
        **_reading(scaffold),
        **_sending(scaffold),
    }


def _names(new: Scaffold) -> dict[str, str]:
    unreadable = "from activities.partners.events import Event\n"
    return {
        "new-partner": new.name,
        "new_partner": new.module,
        "NEW_PARTNER": new.variable,
        "New partner": new.title,
        "from receiver.cli.partner.sample import new_partner\n": "",
        # In the test, which imports the file.
        f"from activities.http import http_client\n{unreadable}": (
            f"from activities.http import http_client\nfrom activities.partners import {new.module}\n{unreadable}"
        ),
    }


def _signing(new: Scaffold) -> dict[str, str]:
    if new.scheme:
        return {'"github"': f'"{new.scheme}"', '"not-a-secret"': f'"{SCHEMES[new.scheme].sample_secret}"'}
    return {SIGNING: NOT_SIGNING, " signature,": "", '\n    "NEW_PARTNER_SECRET": "not-a-secret",': ""}


def _calling(new: Scaffold) -> dict[str, str]:
    """Return the changes of the call and its answer."""
    if new.stage_by == "token":
        return {
            CALL_BODY: '{"data": call.data, "metadata": {"callback_url": callback_url}}',
            "Partner, signature, work_reference": "Partner, signature",
            HAS_URL: HAS_URL.replace('["callback_url"]', '["metadata"]["callback_url"]'),
        }
    if new.stage_by == "url":
        return {}
    return {
        CALL_BODY: '{"reference": work_reference(call), "data": call.data}',
        RECEIPT: RECEIPT.replace("text_or_empty", "text_at"),
        TEST_BEGIN: "async def test_the_reference_of_the_call_is_recorded(tmp_path: Path) -> None:\n"
        '    store = Database(f"sqlite:///{tmp_path}/calls.db")\n    migrations.upgrade(store)\n',
        PARTNER_CALLS: PARTNER_CALLS.replace("new-partner", new.name).replace("partner})", "partner}, Calls(store))"),
        HAS_URL: "    with store.begin() as connection:\n"
        '        recorded = connection.execute(sa.text("SELECT partner, reference FROM calls")).all()\n'
        '    assert [tuple(row) for row in recorded] == [("new-partner", "work-1")]\n'.replace("new-partner", new.name),
        "import timedelta\n\nimport httpx\nimport pytest\nimport respx\n": "import timedelta\n"
        "from pathlib import Path\n\nimport httpx\nimport pytest\nimport respx\nimport sqlalchemy as sa\n",
        "from workflows.contract import Answer, StageCall\n": "from activities.store import migrations\n"
        "from activities.store.calls import Calls\nfrom activities.store.database import Database\n"
        "from workflows.contract import Answer, StageCall\n",
    }


def _splitting(new: Scaffold) -> dict[str, str]:
    """Return the changes of how a request is read, and becomes events."""
    reading = "read_object(received)" if new.form is JSON and new.found.events != () else f"received.{new.form.reader}"
    told = {
        "url": "",
        "token": f", token=text_or_empty(event, {_words(new.token)})",
        "reference": f", reference=text_at(event, {_words(new.reference)})",
    }[new.stage_by]
    result = f"    return Event(read_answer(event){told})\n"
    fields = "        split=split,\n" if new.found.events is not None else ""
    fields += f'        stage_by="{new.stage_by}",\n' if new.has_one_url else ""
    if new.found.events is None:
        return {
            READING: READING.replace("read_object(received)", reading).rpartition("    return")[0] + result,
            PARTNER_FIELDS: PARTNER_FIELDS.replace("        auth=", f"{fields}        auth="),
        }
    items = ", ".join([reading, *map(repr, new.found.events)])
    return {
        READING: SPLITTING % items + result,
        PARTNER_FIELDS: PARTNER_FIELDS.replace("        auth=", f"{fields}        auth="),
        BEGINNING: f"from collections.abc import Sequence\n\n{BEGINNING}",
        "import read_object, text_at": "import items_at, read_object, text_at",
        "import Received, Unreadable\nfrom workflows.contract import Answer, Receipt": (
            "import Part, Received, Unreadable\nfrom workflows.contract import Answer, Receipt"
        ),
        "[new_partner.read_event(received)]": (
            f"[{new.module}.read_event(part) for part in {new.module}.split(received)]"
        ),
    }


def _reading(new: Scaffold) -> dict[str, str]:
    """Return the changes of the function that reads what a callback says."""
    status = _words(new.found.status)
    if not new.found.names_status:
        return {
            MATCHING: "    # Nothing in it names a status: say what it reports. To ask for the result, return "
            'Answer("ask"), and write\n    # build_ask and read_status.\n'
            f'    return Answer("progress", message=text_at(event, {status}))\n'
        }
    read = "text_at" if _has_number(new) else "text_or_empty"
    seen = (new.found.seen, *(text_or_empty(event, *new.found.status) for event in new.events))
    others = [text for text in dict.fromkeys(seen) if text not in KNOWN and (text or not new.found.seen)]
    return {
        'text_at(event, "status")': f"text_at(event, {status})",
        'text_at(event, "result", "number")': f"{read}(event, {_words(new.number)})",
        '"working":': " | ".join(['"working"', *map(repr, others)]) + ":",
        '"unknown status"': repr(f"unknown {'.'.join(new.found.status)}"),
        **{f'"{name}"': repr(new.beside(name)) for name in ("code", "message")},
    }


def _sending(new: Scaffold) -> dict[str, str]:
    """Return the changes of what the partner sends: the media type, and the callbacks in the test."""
    code, message = new.beside("code"), new.beside("message")
    rows = [
        (_body(new, "done", nested(new.number, "n-1")), 'Answer("succeeded", data={"number": "n-1"})'),
        (_body(new, "failed", {code: "c", message: "m"}), 'Answer("failed", code="c", message="m")'),
        (_body(new, "working"), 'Answer("progress")'),
    ]
    if not new.found.names_status:
        text = WORK if new.stage_by == "reference" and new.reference == new.found.status else "working"
        rows = [(_body(new, text), f'Answer("progress", message="{text}")')]
    odd = f", {_body(new, 'other' if new.found.seen == 'odd' else 'odd')}])" if new.found.names_status else "])"
    told = {"url": "", "token": f', token="{CALLBACK_URL}"', "reference": f', reference="{WORK}"'}[new.stage_by]
    zipped = "        gzip=True,\n" if new.is_zipped else ""
    return {
        '        content_type="application/json",\n': f"        content_type={new.content_type!r},\n{zipped}",
        '"Content-Type", "application/json"': f'"Content-Type", {new.content_type + new.form.options!r}',
        BODIES: "".join(f"        ({body}, {answer}),\n" for body, answer in rows),
        ODD_BODY: odd,
        "[Event(answer)]": f"[Event(answer{told})]",
    }


def _body(new: Scaffold, status: str, *more: Mapping[str, Any]) -> str:
    """Return a literal of the body of a callback with this status."""
    told = {"url": {}, "token": nested(new.token, CALLBACK_URL), "reference": nested(new.reference, WORK)}[new.stage_by]
    event = merged(nested(new.found.status, status), *more, told)
    value = event if new.found.events is None else nested(new.found.events, [event])
    body = new.form.write(value)
    lines = [body[place : place + LONGEST_LITERAL] for place in range(0, len(body), LONGEST_LITERAL)]
    return repr(body) if len(lines) < 2 else f"({' '.join(map(repr, lines))})"


def _has_number(new: Scaffold) -> bool:
    """Whether the captured request has the result that is read for the status `done`; True for other statuses."""
    return new.found.seen != "done" or bool(text_or_empty(new.found.event, *new.number))


def _words(path: tuple[str, ...]) -> str:
    return ", ".join(map(repr, path))


def _replaced(text: str, changes: Mapping[str, str]) -> str:
    """Make all changes in a single pass, so that none applies to the captured texts that another writes."""
    longest_first = sorted(changes, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, longest_first)), lambda found: changes[found[0]], text)
