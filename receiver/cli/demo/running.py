"""The demo: a pipeline from start to end, on real processes, with the faults that partners show."""

from __future__ import annotations

import asyncio
import json
import os
import shlex
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from temporalio.client import WorkflowHandle

from activities.environment import Environment
from activities.known_secrets import known_secrets
from activities.redaction.secrets import look_for
from activities.run_errors import ProgressUnknown
from activities.run_status import status_name
from activities.runs import Runs
from activities.settings import read_token_version
from activities.store.database import Database
from receiver.cli.demo.processes import Processes, cancel_with_parent
from receiver.cli.demo.stack import Stack, stagehook_command, start_stack
from receiver.cli.errors import CommandError
from receiver.cli.output import note, print_json, say
from receiver.cli.pipeline.stage_table import changes, stage_table
from receiver.cli.tables import live_table
from receiver.deliveries.archive import Archive
from receiver.deliveries.export import redact
from workflows.contract import Pipeline, PipelineResult, Progress, Stage, for_older_workers
from workflows.pipelines import ONBOARDING

STOP_WITHIN: Final = 1.0
RUN_WITHIN: Final = 60.0
CALLBACK_DELAY: Final = 0.6
HURRIED_TIMEOUT: Final = 2.0
REFRESH_SECONDS: Final = 0.2

DEMO_PLAYS: Final[Mapping[str, list[str]]] = {
    "identity": ["twice"],
    "bank": ["early"],
    "esign": ["never", "missigned"],
    "cards": ["forged"],
    "payments": ["later"],
}
FIRST_PAYMENT: Final = Stage(
    number=len(ONBOARDING.stages) + 1,
    name="first-payment",
    partner="payments",
    timeout=30.0,
    needs={"card": "card.card_id", "holder": "identity-check.legal_name"},
)
"""A stage of the demo alone: its partner has one webhook URL, and hands back only its own id."""

CAPTURES: Final = Path(".dev/demo.jsonl")
"""The file with the receiver's deliveries, for a webhook replay."""

PROJECT: Final = Path(__file__).resolve().parents[3]
"""The folder of the Makefile."""

INPUT: Final = {"full_name": "ada lovelace", "date_of_birth": "1815-12-10", "iban": "GB33BUKB20201555555555"}


async def run_demo(*, keep: bool, as_json: bool) -> None:
    """Run the demo and print a summary; raises `CommandError` if the run did not show everything."""
    cancel_with_parent()
    env = Environment(os.environ)
    token_version = read_token_version(env)
    env.check()
    with (
        tempfile.TemporaryDirectory(prefix="stagehook-demo-") as folder,
        Processes(Path(folder), grace=STOP_WITHIN) as processes,
    ):
        try:
            if not as_json:
                note("starting Temporal, receiver, worker and sandbox partner ...")
            stack = await start_stack(processes, Path(folder), plays=DEMO_PLAYS, delay=CALLBACK_DELAY, ui=keep)
            handle = await Runs(stack.client).start(
                demonstrated(), INPUT, task_queue="stagehook", token_version=token_version
            )
            async with asyncio.timeout(RUN_WITHIN):
                status, progress = await _follow(stack, handle, processes, as_json=as_json)
            summary = Summary(handle, status, progress, await stack.ledger())
        except TimeoutError:
            what = f"the run did not end within {RUN_WITHIN:g} s\n{processes.tails()}"
            raise CommandError(what, "`make demo` again on a machine with less to do") from None
        if as_json:
            print_json(summary.as_json())
        else:
            for line in summary.lines():
                say(line)
        if missing := summary.missing():
            raise CommandError(f"the run did not show {missing}\n{processes.tails()}", "`make demo` again")
        if not as_json:
            captured = _keep_captures(stack)
            for line in _links(stack, handle, Path(folder)) if keep else next_commands(captured):
                say(line)
        while keep:
            processes.check()
            await asyncio.sleep(REFRESH_SECONDS)


def demonstrated() -> Pipeline:
    """Return the pipeline that the demo runs: onboarding in a hurry, and a first payment."""
    pipeline = hurried(ONBOARDING)
    return replace(pipeline, stages=[*pipeline.stages, FIRST_PAYMENT])


def hurried(pipeline: Pipeline) -> Pipeline:
    """Return the same pipeline with short timeouts, in which no stage waits for a person.

    A partner that never answers costs two seconds instead of days.
    """
    stages = [
        replace(stage, timeout=HURRIED_TIMEOUT if stage.on_timeout == "retry" else 30.0, call_within=30.0)
        for stage in pipeline.stages
    ]
    return for_older_workers(replace(pipeline, stages=stages))


@dataclass(frozen=True)
class Summary:
    """A summary of the run, from what Temporal recorded and what the sandbox partner noted."""

    handle: WorkflowHandle[Any, PipelineResult]
    status: str
    progress: Progress
    ledger: list[dict[str, Any]]

    @property
    def refused(self) -> dict[str, int]:
        """Count the refused callbacks: a forged token as unknown, the signature of another body as unproven."""
        answers = {"forged": 404, "missigned": 401}
        return {
            kind: sum(delivery["answered"] == status for delivery in self._deliveries(kind))
            for kind, status in answers.items()
        }

    def duplicates(self, partner: str) -> int:
        """Count the deliveries of the partner's settling callback that were answered 2xx, after the first."""
        taken = [delivery for delivery in self._deliveries("callback", partner) if 200 <= delivery["answered"] < 300]
        return max(0, len(taken) - 1)

    def early(self, partner: str) -> bool:
        """Whether the partner's callback was accepted before its call had returned."""
        return any(
            delivery["answered"] == 202 and delivery["at"] <= work["returned_at"]
            for work in self.ledger
            if work["partner"] == partner
            for delivery in work["deliveries"]
        )

    def _deliveries(self, kind: str, partner: str = "") -> list[dict[str, Any]]:
        return [
            delivery
            for work in self.ledger
            if partner in {"", work["partner"]}
            for delivery in work["deliveries"]
            if delivery["kind"] == kind
        ]

    def missing(self) -> str:
        """Return what this run should have shown but did not; "" if it showed everything."""
        stages = {stage.partner: stage for stage in self.progress.stages}
        shown = {
            "a completed run": self.status == "completed",
            "a thin callback, and its partner asked": stages["identity"].cause == "asked",
            "every other stage settled by a callback": all(
                stage.cause == "callback" for name, stage in stages.items() if name != "identity"
            ),
            "progress before a result": any(delivery["answered"] == 202 for delivery in self._deliveries("progress")),
            "a callback before its call had returned": self.early("bank"),
            "a duplicate, answered and without effect": self.duplicates("identity") == 1,
            "a forged token, refused": self.refused["forged"] == 1,
            "a wrong body signature, refused": self.refused["missigned"] == 1,
            "a second call after a timeout": stages["esign"].attempts == 2,
        }
        return ", ".join(what for what, happened in shown.items() if not happened)

    def as_json(self) -> dict[str, Any]:
        """Return the summary for programs."""
        return {
            "pipeline": self.progress.pipeline,
            "workflow_id": self.handle.id,
            "run_id": self.handle.first_execution_run_id,
            "status": self.status,
            "stages": [
                {
                    "number": stage.number,
                    "name": stage.name,
                    "partner": stage.partner,
                    "outcome": stage.outcome,
                    "cause": stage.cause,
                    "attempts": stage.attempts,
                    "duplicates": self.duplicates(stage.partner),
                }
                for stage in self.progress.stages
            ],
            "refused": self.refused,
        }

    def lines(self) -> list[str]:
        """Return the summary for people."""
        settled = sum(stage.outcome is not None for stage in self.progress.stages)
        return [
            "",
            f"{self.handle.id} {self.status}: {settled} of {len(self.progress.stages)} stages settled, each once",
            "  identity, bank, esign and payments signed what they sent, each in its own way: checked",
            f"  identity sent its thin callback {self.duplicates('identity') + 1} times: asked, and settled once",
            "  bank reported progress and its result before its call had returned: kept",
            "  esign never answered its first call: timed out, called again with a new URL",
            f"  esign then sent {self.refused['missigned']} callback with a wrong body signature first: refused",
            f"  cards, which signs nothing, tried {self.refused['forged']} forged token first: refused",
            "  payments, at its one webhook URL, sent only its own id of the payment: matched to its call",
        ]


async def _follow(
    stack: Stack, handle: WorkflowHandle[Any, PipelineResult], processes: Processes, *, as_json: bool
) -> tuple[str, Progress]:
    """Show the stages until the run has ended; return its status and its last progress."""
    runs = Runs(stack.client)
    before: Progress | None = None
    with live_table(wanted=not as_json) as live:
        while True:
            processes.check()
            status = status_name((await handle.describe()).status)
            try:
                progress = await runs.progress(handle.id)
            except ProgressUnknown:
                await asyncio.sleep(REFRESH_SECONDS)
                continue  # it is still starting; `processes.check` raises if it has ended
            if live is not None:
                live.update(stage_table(progress, f"{progress.pipeline} {handle.id}: {status}"), refresh=True)
            else:
                for line in changes(before, progress):
                    (note if as_json else say)(line)
            if status != "running":
                return status, progress
            before = progress
            await asyncio.sleep(REFRESH_SECONDS)


def _keep_captures(stack: Stack) -> Path | None:
    """Export the receiver's deliveries to a file that outlasts the demo; None if the file cannot be written."""
    deliveries = Archive(Database(stack.environment["DATABASE_URL"])).every()
    look = look_for(known_secrets(stack.environment))
    try:
        CAPTURES.parent.mkdir(exist_ok=True)
        CAPTURES.touch()
        CAPTURES.chmod(0o600)  # bodies may hold personal data
        CAPTURES.write_text("".join(json.dumps(redact(one, look).as_json()) + "\n" for one in deliveries))
    except OSError as error:
        note(f"what the demo captured is not kept: {error}")
        return None
    return CAPTURES


def next_commands(captured: Path | None) -> list[str]:
    """Return the commands to type next, for the current directory."""
    if Path.cwd() != PROJECT:  # no Makefile here
        replay = f"  {shown_command()} delivery replay --from {captured}     sends again what this captured"
        kept = f"  {shown_command()} demo --keep     the same, staying up, with Temporal's UI"
        parts = f"  {shown_command()} dev     the four parts in one terminal"
        return ["", "next:", kept, parts, *([f"{replay}, to your receiver"] if captured else [])]
    replay = f"  make replay FROM={captured}     then: sends again what this captured"
    return [
        "",
        "next:",
        "  make demo KEEP=1     the same, staying up, with Temporal's UI",
        "  make dev             the four parts in one terminal; then, in another one:",
        f"  {shown_command()} pipeline start onboarding --wait --input '{json.dumps(INPUT)}'",
        *([replay] if captured else []),
    ]


def _links(stack: Stack, handle: WorkflowHandle[Any, PipelineResult], folder: Path) -> list[str]:
    settings = folder / "env"
    added = {name: value for name, value in stack.environment.items() if os.environ.get(name) != value}
    settings.write_text("".join(f"export {name}={shlex.quote(value)}\n" for name, value in added.items()))
    run = f"{stack.ui_url}/namespaces/default/workflows/{handle.id}/{handle.first_execution_run_id}/history"
    return [
        "",
        f"this run in Temporal's UI:  {run}",
        f"the receiver:               {stack.public_url}/readyz, {stack.public_url}/metrics",
        f"the partner's own ledger:   {stack.sandbox_url}/ledger",
        f"in another terminal, first: . {settings}",
        f"this run:                   {shown_command()} pipeline show {handle.id}",
        f"what the receiver was sent: {shown_command()} delivery list",
        f"the same again:             {shown_command()} delivery replay --since 1h --start",
        "Ctrl-C ends everything.",
    ]


def shown_command() -> str:
    """Return this `stagehook` command as it can be typed here."""
    path = stagehook_command()[0]
    return min(path, os.path.relpath(path), key=len)
