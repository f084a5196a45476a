"""What a webhook replay sends: a new token, a new signature, and everything else as it was captured."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from activities.callback_urls import CallbackURLs
from activities.environment import Environment
from activities.partners import sandbox
from activities.partners.events import Event
from activities.partners.partner import OwnAnswer, Partner
from activities.partners.received import Received
from activities.signatures import SCHEMES, SignedRequest
from activities.store.calls import CallOrigin, Calls, NotedCall
from activities.store.database import Database
from activities.store.store import Store
from receiver.app import create_app
from receiver.deliveries.archive import Archive
from receiver.deliveries.delivery import Delivery, digest
from receiver.replay.aims import CapturedClaims
from receiver.replay.errors import CannotSign, NotReplayable
from receiver.replay.sending import Replay, select
from tests.parts.callbacks import BASE, CLAIMS, DONE, URLS
from tests.parts.deliveries import delivery
from tests.parts.listeners import listening
from tests.parts.metrics import read
from tests.parts.one_url import GITHUB, ONE_URL, carrying, post, read_token
from tests.parts.switchable import Switchable
from tests.parts.waits import eventually
from tests.stores import PATIENT
from tests.support import KEY

PLAIN = sandbox.partner("bank", Environment({}))
FORM = (("Content-Type", "application/x-www-form-urlencoded"),)


def captured(**changes: Any) -> Delivery:
    plain = delivery(target="/callbacks/{run/1/1}?q=1", **vars(CLAIMS))
    return replace(plain, **changes)


def replaying(partner: Partner = PLAIN, **options: Any) -> Replay:
    return Replay(httpx.AsyncClient(), URLS, {"bank": partner}, **options)


@asynccontextmanager
async def recording(database: Database, partner: Partner) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(URLS, {"bank": partner}, Switchable(), store=Store(database), timing=PATIENT)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=BASE) as http,
    ):
        yield http


def test_body_headers_and_query_stay_but_connection_headers() -> None:
    headers = (("Host", "production"), ("X-Twice", "1"), ("Content-Length", "7"), ("x-twice", "2"), ("X-\xe4", "\xe9"))
    one = captured(headers=headers)
    sent = replaying().write([(one, CLAIMS)])
    assert sent.content == one.body
    raw = [(name, value) for name, value in sent.headers.raw if name.lower() not in {b"host", b"content-length"}]
    assert raw == [(b"X-Twice", b"1"), (b"x-twice", b"2"), ("X-ä".encode("latin-1"), b"\xe9")]


def test_a_public_key_alone_is_told_before_anything_is_sent() -> None:
    key = Ed25519PrivateKey.generate()
    scheme = SCHEMES["discord"](secrets=[key.public_key().public_bytes_raw().hex()])
    one = captured(signed_id="")
    with pytest.raises(CannotSign, match=f"{one.id} cannot be signed as bank does: a public key cannot sign"):
        replaying(replace(PLAIN, signature=scheme)).check([one])
    replaying(replace(PLAIN, signature=scheme), mode="verbatim").check([one])


def test_an_unsignable_delivery_is_told_before_any_is_sent() -> None:
    twilio = replace(PLAIN, signature=SCHEMES["twilio"](secrets=["x" * 32]))
    form, other = captured(headers=FORM, body=b"A=1"), captured(id="other", body=b'{"a": 1}')
    replaying(twilio).check([form])
    with pytest.raises(CannotSign, match="other cannot be signed"):
        replaying(twilio).check([form, other])


async def test_a_url_is_sent_and_signed_as_it_was_captured() -> None:
    """A client would rather write some of its characters anew, and a scheme that signs the URL would notice."""
    twilio, query = SCHEMES["twilio"](secrets=["x" * 32]), '?a="x"&b=<y>&c={z}|^`#\'%41%zz'
    one = captured(target=f"/callbacks/{{run/1/1}}{query}", headers=FORM, body=b"A=1")
    with listening() as (url, noted):
        async with httpx.AsyncClient(trust_env=False) as http:
            again = Replay(http, CallbackURLs(url, [KEY]), {"bank": replace(PLAIN, signature=twilio)})
            assert [sent.same async for sent in again.send_all([one], CapturedClaims())] == [True]
    ((target, headers, body),) = noted
    assert target.endswith(query)
    twilio.verify(SignedRequest("POST", url + target, headers, body), 0.0)


def test_an_impossible_url_is_left_out_with_the_reason() -> None:
    bad = [
        captured(id=query, target=f"/callbacks/{{run/1/1}}?{query}") for query in ("\x01", "a b", "\xe9", "x" * 2**16)
    ]
    odd = captured(target="/callbacks/{a run/1/1}?q", workflow_id="a run")
    chosen, left = select([*bad, odd])
    assert chosen == [odd]
    assert {why for _, why in left} == {"its URL cannot be sent: blanks, control characters, or too long"}


def test_blanks_around_a_header_are_not_sent_again() -> None:
    """They may be sent, and no client of ours does: it would refuse the request."""
    sent = replaying().write([(captured(headers=(("X-Padded", "\ta b  "),)), CLAIMS)])
    assert (b"X-Padded", b"a b") in sent.headers.raw
    assert sent.headers["host"] == "receiver.test"
    assert str(sent.url) == URLS.issue(CLAIMS) + "?q=1"


def test_resign_signs_under_the_captured_id_and_verbatim_not() -> None:
    bank = SCHEMES["standard-webhooks"](secrets=["bm90LWEtc2VjcmV0LW5vdC1hLXNlY3JldC1u"])
    one = captured(headers=(("Webhook-Signature", "v1,old"), ("X-Other", "1")), signed_id="msg_1")
    sent = replaying(replace(PLAIN, signature=bank)).write([(one, CLAIMS)])
    signed = SignedRequest("POST", str(sent.url), list(sent.headers.multi_items()), sent.content)
    assert bank.verify(signed, float(sent.headers["webhook-timestamp"])).delivery_id == "msg_1"
    verbatim = replaying(replace(PLAIN, signature=bank), mode="verbatim").write([(one, CLAIMS)])
    assert verbatim.headers["webhook-signature"] == "v1,old"


def test_what_cannot_be_sent_again_is_left_out_with_the_reason() -> None:
    whole, bodiless, forged, missigned = (
        captured(),
        captured(body=None),
        captured(workflow_id=""),
        captured(verdict="unproven"),
    )
    chosen, left = select([whole, bodiless, forged, missigned])
    assert chosen == [whole]
    assert {one.id: why for one, why in left} == {
        bodiless.id: "its body was not kept",
        forged.id: "its token was none of ours",
        missigned.id: "its signature was refused, and would be made right",
    }
    assert missigned in select([missigned], unproven=True)[0]
    with pytest.raises(NotReplayable):
        replaying().write([(bodiless, CLAIMS)])


def test_they_are_sent_in_the_order_of_capture() -> None:
    ones = [captured(received_at=float(n), id=f"{9 - n}") for n in (3, 1, 2)]
    assert [one.received_at for one in select(ones)[0]] == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("options", "pauses"),
    [({}, [0, 0]), ({"speed": 1.0}, [3, 5]), ({"speed": 10.0}, [0.3, 0.5]), ({"rate": 4.0}, [0.25, 0.25])],
)
async def test_the_pauses_of_capture_are_kept_shortened_or_left_out(
    options: dict[str, Any], pauses: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr("receiver.replay.sending.asyncio.sleep", sleep)
    monkeypatch.setattr("receiver.replay.sending.time", SimpleNamespace(monotonic=lambda: sum(slept)))
    answering = httpx.MockTransport(lambda request: httpx.Response(202))
    ones = [captured(received_at=100.0 + after, id=f"{after}") for after in (0, 3, 8)]
    async with httpx.AsyncClient(transport=answering) as http:
        again = Replay(http, URLS, {"bank": PLAIN}, **options)
        replayed = [one async for one in again.send_all(ones, CapturedClaims())]
    assert [one.same for one in replayed] == [True] * 3
    assert slept == pytest.approx(pauses)
    assert again.seconds(ones) == pytest.approx(sum(pauses))


async def test_an_unreadable_answer_does_not_end_the_replay() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if b"?junk" in request.extensions["target"]:
            return httpx.Response(202, headers={"Content-Encoding": "gzip"}, stream=httpx.ByteStream(b"junk"))
        if b"?cut" in request.extensions["target"]:
            raise httpx.RemoteProtocolError("closed")
        return httpx.Response(202)

    ones = [captured(target=f"/callbacks/{{run/1/1}}?{how}") for how in ("junk", "cut", "well")]
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as http:
        again = Replay(http, URLS, {"bank": PLAIN})
        replayed = [(one.answered, one.error) async for one in again.send_all(ones, CapturedClaims())]
    assert replayed == [(0, "DecodingError"), (0, "RemoteProtocolError"), (202, "")]


async def test_where_nobody_listens_the_replay_ends(unused_port: int) -> None:
    async with httpx.AsyncClient(trust_env=False) as http:
        again = Replay(http, CallbackURLs(f"http://127.0.0.1:{unused_port}", [KEY]), {"bank": PLAIN})
        replayed = [one async for one in again.send_all([captured(), captured()], CapturedClaims())]
    assert [(one.error, one.unreachable) for one in replayed] == [("ConnectError", True)]


async def test_a_delivery_to_one_url_goes_there_with_a_new_token(database: Database) -> None:
    partner = replace(PLAIN, signature=GITHUB, **ONE_URL)
    async with recording(database, partner) as http:
        assert (await post(http, "/partners/bank", carrying(URLS.issue(CLAIMS)))).status_code == 202
        (kept,) = Archive(database).every()
        token = URLS.issue(CLAIMS).rpartition("/")[2]
        assert kept.body is not None
        assert token.encode() not in kept.body
        other = replace(CLAIMS, workflow_id="another", chain_id="another")
        sent = replaying(partner).write([(kept, other)])
        assert (sent.url.path, read_token(Received(sent.content))) == ("/partners/bank", URLS.issue(other))
        assert (await http.send(sent)).status_code == 202
        assert [one.workflow_id for one in Archive(database).every()] == ["run", "another"]


async def test_an_error_of_a_partners_file_is_recorded_and_counted(database: Database) -> None:
    def raise_(received: Received) -> Event:
        raise KeyError("status")

    async with recording(database, replace(PLAIN, read_event=raise_)) as http:
        assert (await http.post(URLS.issue(CLAIMS), json=DONE)).status_code == 503
        await eventually(lambda: len(list(Archive(database).every())) == 1)
        counted = read((await http.get("/metrics")).text)
    (kept,) = Archive(database).every()
    assert (kept.verdict, kept.status, kept.workflow_id, kept.replayable) == ("broken", 503, "run", True)
    assert counted["stagehook_answers_total", "bank", "read_event raised KeyError", "503", "broken"] == 1


async def test_the_answer_that_is_recorded_is_the_one_that_was_given(database: Database) -> None:
    own = {"accepted": OwnAnswer(200, "[accepted]"), "conflict": OwnAnswer(200)}
    async with recording(database, replace(PLAIN, answers=own)) as http:
        for body in (DONE, DONE):
            assert (await http.post(URLS.issue(CLAIMS), json=body)).status_code == 200
        await eventually(lambda: next(iter(Archive(database).every())).fate.value == "taken")
        assert (await http.post(URLS.issue(CLAIMS), json={**DONE, "data": {"other": 1}})).status_code == 200
        await eventually(lambda: {one.status for one in Archive(database).every()} == {200})
    assert [one.verdict for one in Archive(database).every()] == ["accepted", "duplicate", "conflict"]


async def test_a_request_is_recorded_whatever_its_answer(database: Database) -> None:
    await Calls(database).note([NotedCall(CLAIMS, CallOrigin("onboarding"), called_at=1.0)])
    async with recording(database, replace(PLAIN, signature=GITHUB)) as http:
        await http.get(URLS.issue(CLAIMS))
        await http.post(URLS.issue(CLAIMS)[:-1], json=DONE)
        await http.post(URLS.issue(CLAIMS), json=DONE)
        await http.post(URLS.issue(CLAIMS), content=b"x", headers={"Content-Type": "text/plain"})
        await post(http, URLS.issue(CLAIMS), b"[]")
        await post(http, URLS.issue(replace(CLAIMS, expires_at=1_790_000_001)), DONE)
        await eventually(lambda: len(list(Archive(database).every())) == 6)
    recorded = {one.verdict: one for one in Archive(database).every()}
    assert {verdict: (one.status, one.reason) for verdict, one in recorded.items()} == {
        "wrong_method": (405, ""),
        "unknown": (404, ""),
        "unproven": (401, "missing-header"),
        "wrong_type": (415, "send application/json"),
        "unreadable": (422, "not a JSON object"),
        "gone": (410, ""),
    }
    assert recorded["unproven"].pipeline == "onboarding"
    assert json.loads(recorded["unproven"].body or b"") == DONE
    assert recorded["unreadable"].body_digest == digest(b"[]")
