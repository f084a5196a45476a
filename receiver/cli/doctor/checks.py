"""The checks of `stagehook doctor`, part by part."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime
from typing import Final

import httpx
from temporalio.service import RPCError

from activities.callback_urls import CLOCK_GRACE, fingerprint
from activities.client import TemporalUnreachable, connect, connect_config, reaching_temporal, target_of
from activities.connection_errors import OTHER, ConnectionFault
from activities.environment import SettingsError, is_loopback
from activities.finding import AttributeTaken, SetupRefused, missing_attributes
from activities.lanes import LaneRefused, look_at_lane, reaching_lanes
from activities.partners.partner import SHORTER_URL
from activities.runs import new_run_id
from activities.settings import Settings
from activities.store.errors import SchemaMissing, StoreAway
from activities.store.store import Store
from activities.target import Target
from receiver.advice import advice_on
from receiver.cli.doctor.calling_out import ways_to_partners
from receiver.cli.doctor.findings import Finding
from receiver.cli.errors import Exit
from receiver.cli.output import ANSWER_TIMEOUT, print_json, say
from receiver.cli.pipeline.urls import too_long_urls
from receiver.cli.terminal import printable
from receiver.sending.signals import Signals, TemporalAway
from receiver.settings import WebSettings
from receiver.telling.lanes import ALL_TAKEN, hold_text, unserved_text
from workflows.lanes import call_lane
from workflows.pipelines import PIPELINES

CLOCKS_APART: Final = CLOCK_GRACE / 3
"""Seconds that clocks may differ before an operator should act: a third of the grace that tokens get."""


async def print_findings(*, as_json: bool) -> Exit:
    """Check every part and print the findings; FAILED if anything is wrong."""
    findings = []
    async for finding in _examine():
        findings.append(finding)
        if not as_json:
            say(printable(finding.line()))
    if as_json:
        print_json(findings)
    return Exit.OK if all(finding.ok for finding in findings) else Exit.FAILED


async def _examine() -> AsyncIterator[Finding]:
    web: WebSettings | None = None
    try:
        web = WebSettings.from_env(os.environ)
    except SettingsError as error:
        for fault in error.faults:
            yield Finding("settings", ok=False, says=f"{fault.name} {fault.problem}", fix=fault.fix)
    else:
        yield Finding("settings", ok=True, says="complete")
    temporal = await _temporal()
    yield temporal
    if temporal.ok:
        async for finding in _attributes():
            yield finding
    if web is None:
        says = "store, keys, partners, public url, clock: not checked"
        yield Finding("the rest", ok=False, says=says, fix="settings first")
        return
    async for finding in _parts(web.shared):
        yield finding


async def _parts(settings: Settings) -> AsyncIterator[Finding]:
    """Check what the settings lead to."""
    yield _store(settings.store)
    prints = ", ".join(fingerprint(key) for key in settings.callback_keys)
    yield Finding("keys", ok=True, says=f"{prints} (the first one signs)")
    for finding in itertools.chain(_trial(settings), _enrolments(settings), _partners(settings)):
        yield finding
    async for finding in ways_to_partners(settings.partners):
        yield finding
    async for finding in _lanes(settings):
        yield finding
    async for finding in _public_url(settings):
        yield finding


async def _temporal() -> Finding:
    try:
        where = connect_config(os.environ)
    except SettingsError as error:
        return Finding("temporal", ok=False, says=str(error), fix="set TEMPORAL_ADDRESS and its companions")
    target = target_of(where)
    try:
        await connect(os.environ)
        await Signals(lambda: connect(os.environ, lazy=True)).check()
    except TemporalUnreachable as error:
        return Finding("temporal", ok=False, says=str(error), fix=error.fault.cause.fix)
    except TemporalAway as error:
        fault = error.fault or ConnectionFault(OTHER, str(error))
        return Finding("temporal", ok=False, says=fault.sentence(target), fix=fault.cause.fix)
    return Finding("temporal", ok=True, says=f"{target.address}, namespace {target.namespace}, TLS {target.tls}")


def _store(store: Store | None) -> Finding:
    if store is None:
        return Finding("store", ok=True, says="none: while Temporal is away, partners get 503 and must send again")
    try:
        store.database.check()
    except SchemaMissing as missing:
        return Finding("store", ok=False, says=str(missing), fix="run `stagehook db upgrade`")
    except StoreAway as away:
        return Finding("store", ok=False, says=str(away), fix="start the database, and check DATABASE_URL")
    if store.database.is_exposed():
        says = f"every user of this machine can read {store.database}"
        return Finding("store", ok=False, says=says, fix="change the owner of the file to this user, or run chmod 600")
    kept = "packed and kept" if store.packs else "kept"
    return Finding("store", ok=True, says=f"{store.database}, {kept} for {store.days} days")


async def _attributes() -> AsyncIterator[Finding]:
    """Tell of missing search attributes, without which runs are found by their id only."""
    try:
        client = await connect(os.environ)
        async with reaching_temporal(Target.of_client(client)):
            missing = await missing_attributes(client)
    except AttributeTaken as taken:
        fix = "use another namespace, or find runs by their id only"
        yield Finding("temporal", ok=True, says=str(taken), fix=fix, note=True)
        return
    except (TemporalUnreachable, SetupRefused, RPCError):
        return  # the key may read no search attributes; runs do without them
    if missing:
        says = f"the namespace lacks search attributes: {', '.join(key.name for key in missing)}"
        yield Finding("temporal", ok=True, says=says, fix="run `stagehook setup`, to find runs by them", note=True)


def _trial(settings: Settings) -> Iterator[Finding]:
    if settings.trial:
        fix = "remove TRIAL before you enable a partner of your own"
        yield Finding("trial", ok=True, says="web itself plays the sample partners (TRIAL=1)", fix=fix, note=True)


def _enrolments(settings: Settings) -> Iterator[Finding]:
    for name, partner in settings.partners.items():
        if partner.enrols:
            says, fix = f"{name} may choose the key of its signatures", "remove its enrolment word once the key is set"
            yield Finding("partners", ok=True, says=says, fix=fix, note=True)


def _partners(settings: Settings) -> Iterator[Finding]:
    for pipeline in PIPELINES.values():
        used = {stage.partner for stage in pipeline.stages}
        missing = sorted(used - set(settings.partners))
        if missing and set(missing) == used:
            says = f"pipeline {pipeline.name} cannot run: none of its partners is enabled"
            fix = "add them to PARTNERS to run it, or remove the pipeline"
            yield Finding("partners", ok=True, says=says, fix=fix, note=True)
        elif missing:
            says = f"pipeline {pipeline.name} needs {', '.join(missing)}"
            yield Finding("partners", ok=False, says=says, fix="add them to PARTNERS, or remove the pipeline")
        else:
            yield Finding("partners", ok=True, says=f"pipeline {pipeline.name} has all of its partners")
        for flaw in too_long_urls(
            pipeline,
            settings.partners.get,
            public_url=settings.public_url,
            workflow_id=new_run_id(pipeline),
            token_version=settings.token_version,
        ):
            yield Finding("partners", ok=False, says=f"pipeline {pipeline.name}: {flaw}", fix=SHORTER_URL)


async def _lanes(settings: Settings) -> AsyncIterator[Finding]:
    """A line for each enabled partner whose calls are held, or are taken by no worker; nothing without Temporal."""
    try:
        client = await connect(os.environ)
        async with reaching_lanes(client):
            lanes = {
                name: await look_at_lane(client, call_lane(settings.task_queue, name)) for name in settings.partners
            }
    except LaneRefused as error:
        yield Finding("lanes", ok=False, says=f"not checked: {error}", fix=advice_on(error) or "")
        return
    except (TemporalUnreachable, SettingsError) as error:
        yield Finding("lanes", ok=False, says=f"not checked: {error}", fix="temporal first")
        return
    unserved = [name for name, lane in lanes.items() if not lane.served]
    if unserved:
        says = "; ".join(unserved_text(lanes[name].task_queue) for name in unserved)
        fix = f"start `stagehook worker` with the same PARTNERS and TASK_QUEUE; {ALL_TAKEN}"
        yield Finding("lanes", ok=False, says=says, fix=fix)
    for name, lane in lanes.items():
        if lane.hold is not None:
            yield Finding("lanes", ok=True, says=f"{name} is {hold_text(name, lane.hold)}")
    if not unserved:
        yield Finding("lanes", ok=True, says="a worker takes the calls to every partner")


async def _public_url(settings: Settings) -> AsyncIterator[Finding]:
    if is_loopback(settings.public_url):
        says = f"{settings.public_url} is loopback: only partners on this machine can call back"
        # The sample partners are on this machine. A real partner is not.
        has_real = any(not partner.loopback_only for partner in settings.partners.values())
        yield Finding(
            "public url", ok=not has_real, says=says, fix="use the public https address" if has_real else "", note=True
        )
    try:
        async with httpx.AsyncClient(timeout=ANSWER_TIMEOUT, trust_env=False) as http:
            asked_at = time.time()
            answer = await http.get(f"{settings.public_url}/healthz")
    except httpx.HTTPError as error:
        says = f"{settings.public_url} does not answer ({type(error).__name__})"
        yield Finding("public url", ok=False, says=says, fix="start the web process, and check DNS and the router")
        return
    if answer.status_code == 200 and answer.text == '{"alive":true}':
        yield Finding("public url", ok=True, says=f"{settings.public_url} leads to a receiver")
    else:
        says = f"{settings.public_url} answers {answer.status_code}: another program than the receiver"
        yield Finding("public url", ok=False, says=says, fix="set PUBLIC_URL to the address of the web process")
    yield _clock(answer, asked_at)


def _clock(answer: httpx.Response, asked_at: float) -> Finding:
    """Compare this machine's clock with the clock of the server at PUBLIC_URL."""
    try:
        apart = abs(parsedate_to_datetime(answer.headers.get("date", "")).timestamp() - asked_at)
    except ValueError:
        return Finding("clock", ok=True, says="PUBLIC_URL tells no time to compare with")
    says = f"{apart:.0f} s apart from PUBLIC_URL's"
    if apart <= CLOCKS_APART:
        return Finding("clock", ok=True, says=says)
    return Finding("clock", ok=False, says=says, fix="synchronise the clocks: tokens are granted 15 minutes")
