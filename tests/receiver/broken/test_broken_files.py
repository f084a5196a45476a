"""A partner's file that raises: the answer is 503, the body is kept, and nothing is queued."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.partners.partner import Unreadable
from activities.store.database import Database
from receiver.deliveries.delivery import MAX_REFUSED_BODY_BYTES, Fate
from receiver.sending.signals import Signals
from tests.parts.broken_files import BROKEN, File, column, mended, raising, receiver, recorded
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS, for_temporal, no_temporal, url_for
from tests.parts.metrics import read
from tests.parts.one_url import GITHUB, carrying, post
from tests.parts.switchable import Switchable
from tests.support import ScriptedPartner, result_of, stage, start, waiting, working
from workflows.contract import Answer


@pytest.mark.parametrize("wrong", BROKEN.values(), ids=BROKEN)
async def test_it_is_503_and_temporal_is_not_asked(wrong: Any) -> None:
    async with receiver(File(wrong).partner("bank"), Signals(no_temporal)) as http:
        answer = await http.post(URLS.issue(CLAIMS), json=DONE)
        counted = read((await http.get("/metrics")).text)
    assert (answer.status_code, answer.json()) == (503, {"answer": "an error of ours"})
    assert int(answer.headers["retry-after"]) > 0
    assert "connection" not in answer.headers, "the body was read"
    assert [key[-1] for key, value in counted.items() if key[0] == "stagehook_answers_total" and value] == ["broken"]


@pytest.mark.parametrize("wrong", ["a number as code", "a lone surrogate", "a KeyError", "too large"])
async def test_nothing_is_queued_and_the_whole_body_is_kept(wrong: str, database: Database) -> None:
    body = {**DONE, "filler": "x" * 2 * MAX_REFUSED_BODY_BYTES}
    temporal = Switchable()
    async with receiver(File(BROKEN[wrong]).partner("bank"), temporal, database) as http:
        for number in (1, 2):
            assert (await http.post(URLS.issue(CLAIMS), json=body)).status_code == 503
            await recorded(database, number)
    first, second = await recorded(database, 2)
    assert temporal.sent == []
    assert (first.verdict, first.status, first.fate, first.workflow_id) == ("broken", 503, Fate.NONE, "run")
    assert json.loads(first.body or b"") == body
    assert second.duplicate_of == ""
    assert first.reason
    assert column(database, "request_id") is None
    assert column(database, "due_at") is None


@pytest.mark.parametrize("wrong", BROKEN.values(), ids=BROKEN)
async def test_one_line_of_the_log_names_partner_and_field(wrong: Any, caplog: pytest.LogCaptureFixture) -> None:
    async with receiver(File(wrong).partner("bank")) as http:
        await http.post(URLS.issue(CLAIMS), json=DONE)
    (line,) = [one for one in caplog.records if one.getMessage() == "partner-file-broken"]
    assert (line.levelno, vars(line)["partner"]) == (logging.ERROR, "bank")
    assert any(name in vars(line)["why"] for name in ("Answer", "read_event"))


@pytest.mark.parametrize(
    "read",
    [
        lambda received: None,
        lambda received: b"token",
        lambda received: 7,
        lambda received: received.json()["missing"],
    ],
)
async def test_a_token_that_is_not_read_as_text_is_broken(read: Any, database: Database) -> None:
    file = File(Answer("succeeded"), read)
    async with receiver(file.partner("bank", signature=GITHUB), Switchable(), database) as http:
        assert (await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)))).status_code == 503
        (kept,) = await recorded(database)
    assert (kept.verdict, kept.workflow_id) == ("broken", "")
    assert URLS.issue(CLAIMS).rpartition("/")[2].encode() not in (kept.body or b"")


@pytest.mark.parametrize("message", ["\ud83d", "a\nb\x1b[2J", URLS.issue(CLAIMS), "x" * 10_000])
async def test_an_unreadable_body_is_422_whatever_the_files_words(message: str, database: Database) -> None:
    async with receiver(File(raising(Unreadable(message))).partner("bank"), Switchable(), database) as http:
        answer = await http.post(URLS.issue(CLAIMS), json=DONE)
        (kept,) = await recorded(database)
    assert answer.status_code == 422
    assert len(answer.json()["detail"]) <= 300
    assert URLS.issue(CLAIMS) not in answer.json()["detail"] + kept.reason


async def test_a_callback_url_in_the_data_stays_out_of_history(
    real: WorkflowEnvironment,
) -> None:
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1))
        await waiting(handle)
        url = url_for(handle)
        body = {"status": "succeeded", "data": {"sent to": url, url: [f"at {url}?a=%20"]}}
        async with receiver(mended().partner(), for_temporal(real.client)) as http:
            assert (await http.post(url, json=body)).status_code == 202
            assert (await http.post(url, json=body)).status_code == 202, "the same again"
        outcome = (await result_of(handle)).outcomes["step-1"]
        history = (await handle.fetch_history()).to_json()
    clean = f"{BASE}/callbacks/[removed]"
    assert outcome.data == {"sent to": clean, clean: [f"at {clean}?a=%20"]}
    assert url.rpartition("/")[2] not in history
