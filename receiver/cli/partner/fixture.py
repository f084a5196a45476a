"""Fixture: a captured callback as a recorded delivery, which the tests send through the real receiver."""

from __future__ import annotations

import gzip
import json
import time
from dataclasses import replace

from activities.callback_urls import CALLBACKS_PATH, PARTNERS_PATH, Claims
from activities.partners.reading import text_or_empty
from activities.redaction.headers import is_credential
from activities.redaction.tokens import without_tokens
from receiver.cli.errors import CommandError, Exit
from receiver.cli.partner.copying import WORK
from receiver.cli.partner.forms import FieldPath
from receiver.cli.partner.scaffold import Scaffold, received_of
from receiver.cli.signature.captured import PLACEHOLDER
from receiver.deliveries.delivery import Delivery, NotADelivery, digest, new_id, placeholder, read_line
from workflows.durations import DAY


def fixture_text(scaffold: Scaffold) -> str:
    """Return the fixture, a delivery a line; raises `CommandError` for a request that cannot become a fixture."""
    lines = [json.dumps(delivery.as_json()) for delivery in _deliveries(scaffold)]
    try:
        for line in lines:
            read_line(line.encode())
    except NotADelivery as error:
        what = f"the captured request makes no fixture: {error}"
        raise CommandError(what, "set it right in what was captured", Exit.USAGE) from error
    return "".join(f"{line}\n" for line in lines)


def _deliveries(new: Scaffold) -> list[Delivery]:
    """The captured request as it would be recorded: with several events, the request and its first event."""
    whole = _fixture(new)
    if new.found.events is None:
        return [whole]
    part = replace(whole, id=new_id(whole.received_at), headers=(), body=None, part_of=whole.id, part=1)
    return [replace(whole, says="", reference=""), part]


def _fixture(new: Scaffold) -> Delivery:
    """Make a delivery of the captured request, as if it had been received for a run's first stage, and taken."""
    at = new.captured.received_at or time.time()
    claims = Claims(f"{new.name}-1", "captured-by-hand", 1, 1, new.name, int(at), int(at + 30 * DAY))
    body = _body(new, placeholder(claims))
    headers = [(name, value) for name, value in new.captured.headers if not is_credential(name)]
    if not any(name.lower() == "content-type" for name, _ in headers):
        headers.append(("Content-Type", new.content_type))  # otherwise the answer would be 415
    settling = {"done": "succeeded", "failed": "failed"} if new.found.names_status else {}
    return Delivery(
        id=new_id(at),
        received_at=at,
        method="POST",
        target=PARTNERS_PATH + new.name if new.has_one_url else CALLBACKS_PATH + placeholder(claims),
        headers=tuple(headers),
        body=body,
        body_size=len(body),
        body_digest=digest(body),
        says=settling.get(new.found.seen, "progress"),
        reference=(text_or_empty(new.found.event, *new.reference) or WORK) if new.stage_by == "reference" else "",
        verdict="accepted",
        status=202,
        **vars(claims),
    )


def _body(new: Scaffold, token: str) -> bytes:
    """The captured body. At a partner's one URL it holds what names the stage, even if the captured body does not."""
    if new.stage_by == "token" and new.found.token:
        return PLACEHOLDER.sub(token.encode(), without_tokens(new.captured.body, token.encode()))
    if new.stage_by == "token":
        return _added(new, new.token, token)
    if new.stage_by == "reference" and not new.found.reference:
        return _added(new, new.reference, WORK)
    return new.captured.body


def _added(new: Scaffold, path: FieldPath, text: str) -> bytes:
    body = new.form.add(received_of(new.captured), (*(new.found.events or ()), *path), text)
    return gzip.compress(body) if new.is_zipped else body
