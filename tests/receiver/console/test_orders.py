"""Orders of the console, each for the run that the operator has seen."""

from __future__ import annotations

import pytest
from temporalio.testing import WorkflowEnvironment

from activities.operations import WentOn
from activities.run_errors import RunNotFound
from activities.runs import Runs
from receiver.console.orders import Given, carry_out
from tests.support import ScriptedPartner, progress_of, stage, start, waiting, working

OF_ANOTHER_RUN = "00000000-0000-0000-0000-000000000001"


async def test_an_order_for_an_earlier_run_ends_nothing(real: WorkflowEnvironment) -> None:
    """A run of the same id has been started since the form was loaded."""
    runs = Runs(real.client)
    async with working(real.client, ScriptedPartner()):
        handle = await start(real.client, stage(1), stage(2))
        await waiting(handle)
        form = {"chain": OF_ANOTHER_RUN, "attempt": "1", "called": "", "command": "one", "reason": "as agreed"}
        for name, error in (("cancel", RunNotFound), ("advance", WentOn), ("skip", WentOn)):
            with pytest.raises(error):
                await carry_out(runs, name, Given(handle.id, 1, "ada", form))
        assert (await progress_of(handle)).stages[0].state == "waiting"
