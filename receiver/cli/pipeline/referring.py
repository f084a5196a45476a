"""Record by hand the partner's id of the work for a stage's call."""

from __future__ import annotations

from activities.partners.answers import BrokenAnswer, checked_reference
from activities.store.calls import Calls
from receiver.cli.db.store import need_store
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import note
from receiver.cli.partner.settings import partner_from_environment
from receiver.cli.pipeline.runs import connect_runs
from receiver.cli.terminal import printable


async def record_reference(workflow_id: str, stage: int, reference: str) -> None:
    """Record the reference for the latest call of an open stage.

    Raises `CommandError`, also for a partner whose callbacks hold no reference; `RunNotFound`, `NoSuchStage`.
    """
    _check(reference)
    store = need_store()
    claims = await (await connect_runs()).open_claims(workflow_id, stage)
    partner = partner_from_environment(claims.partner, to_sign=False)
    if partner is None:
        what = f"the code here has no usable partner {claims.partner!r}, which stage {stage} called"
        raise CommandError(what, "run the release of Stagehook that the worker runs")
    if partner.stage_by != "reference":
        what = f"callbacks of {claims.partner} are for stages by their {partner.stage_by}, not by a reference"
        raise CommandError(what, "print the stage's callback URL with `stagehook token issue`", Exit.USAGE)
    await Calls(store).refer(claims, reference)
    where = f"stage {stage} of {workflow_id}, call {claims.attempt}"
    note(printable(f"recorded: {reference} is {claims.partner}'s id of the work for {where}"))


def _check(reference: str) -> None:
    """Raise `CommandError` for a text that no callback of a partner can hold."""
    try:
        checked_reference(reference, name="REF")
    except BrokenAnswer as error:
        raise CommandError(str(error), "copy the id as the partner shows it", Exit.USAGE) from None
    if not reference.strip() or "\0" in reference:
        raise CommandError("REF is empty, or holds a NUL", "copy the id as the partner shows it", Exit.USAGE)
