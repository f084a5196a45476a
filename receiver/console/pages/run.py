"""RunPage: one run with its stages on a time line, and the forms of an operator's orders."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from activities.operations import CommandUnsure
from receiver.advice import advice_on
from receiver.console.errors import EXPECTED_ERRORS, status_of
from receiver.console.orders import (
    ORDERS,
    Given,
    InvalidOrder,
    RunOrder,
    carry_out,
    orders_for_run,
    orders_for_stage,
    possible,
    seen_fields,
)
from receiver.console.site import Site
from receiver.console.visits import visit_of
from receiver.telling.looking import look_at_run
from receiver.telling.stages import stage_name, state_text
from receiver.telling.stories import Teller
from workflows.stage_record import LONGEST_TEXT

LONGEST_RUN_ID: Final = 1_000
"""Bytes of UTF-8, as Temporal limits it."""

STAGE_NUMBER: Final = re.compile(r"[0-9]{1,6}")
UNDONE: Final[tuple[type[Exception], ...]] = (CommandUnsure, *EXPECTED_ERRORS)
SEND_AGAIN: Final = "send the form again: it acts once, and the answer then tells"


class RunPage:
    """One run."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def routes(self) -> list[BaseRoute]:
        """The page of the run, and the form of an order."""
        return [
            Route("/run", self._show, methods=["GET"]),
            Route("/run/order", self._show_order, methods=["GET"]),
            Route("/run/order", self._carry_out, methods=["POST"]),
        ]

    async def _show(self, request: Request) -> Response:
        look = await look_at_run(await self._site.sources.runs(), _id_of(request))
        teller = Teller(look.workflow_id, look.status == "running", look.outcomes or {}, time.time())
        stages = look.progress.stages if look.progress else ()
        return self._site.render(
            request,
            "run.html",
            look=look,
            silence_advice=(advice_on(look.silence) or "") if look.silence else "",
            orders=list(orders_for_run(look)),
            stages=[
                {
                    "progress": stage,
                    "state": state_text(stage),
                    "story": list(teller.parts(stage)),
                    "data": "\n".join(teller.data_lines(stage)),
                    "orders": list(orders_for_stage(look, stage)),
                }
                for stage in stages
            ],
        )

    async def _show_order(self, request: Request) -> Response:
        order, stage = _order_of(request)
        look = await look_at_run(await self._site.sources.runs(), _id_of(request))
        if not possible(look, order.name, stage):
            what = f"`{order.label}` is not possible {f'for stage {stage}' if stage else 'for the run'} now"
            back = self._site.link("/run", id=look.workflow_id)
            advice = "go back, and look at what the run waits for"
            return self._site.render(request, "problem.html", status=409, what=what, advice=advice, back=back)
        return await self._form(request, order, stage, seen_fields(look, stage))

    async def _carry_out(self, request: Request) -> Response:
        (order, stage), visit = _order_of(request), visit_of(request)
        given = Given(_id_of(request), stage, visit.actor, visit.form)
        try:
            done = await carry_out(await self._site.sources.runs(), order.name, given)
        except InvalidOrder as error:
            return await self._form(request, order, stage, visit.form, problem=str(error), status=422)
        except UNDONE as error:
            unsure = isinstance(error, CommandUnsure)
            return await self._form(
                request,
                order,
                stage,
                visit.form,
                problem=str(error),
                advice=SEND_AGAIN if unsure else advice_on(error) or "",
                status=504 if unsure else status_of(error),
            )
        notice = self._site.notice(done)
        return self._site.redirect(self._site.link("/run", id=given.workflow_id, notice=notice))

    async def _form(
        self,
        request: Request,
        order: RunOrder,
        stage: int,
        fields: Mapping[str, str],
        *,
        problem: str = "",
        advice: str = "",
        status: int = 200,
    ) -> Response:
        blank = {"reason": "", "duration": "", "data": "{}", "from_stage": "0"}
        return self._site.render(
            request,
            "order.html",
            status=status,
            order=order,
            what=order.what.format(stage=stage),
            workflow_id=_id_of(request),
            number=stage,
            fields={**blank, **fields},
            called=await self._called(request) if "from_stage" in order.fields else [],
            problem=problem,
            advice=advice,
            longest_reason=LONGEST_TEXT,
        )

    async def _called(self, request: Request) -> list[tuple[str, str]]:
        """Number and name of each stage of the run that was called."""
        try:
            progress = await (await self._site.sources.runs()).progress(_id_of(request))
        except EXPECTED_ERRORS:
            return []
        return [(str(stage.number), stage_name(stage)) for stage in progress.stages if stage.called_at]


def _id_of(request: Request) -> str:
    """The run that the request names; raises `HTTPException` if it names none."""
    workflow_id = request.query_params.get("id", "")
    if not workflow_id or len(workflow_id.encode("utf-8", "replace")) > LONGEST_RUN_ID:
        raise HTTPException(404)
    return workflow_id


def _order_of(request: Request) -> tuple[RunOrder, int]:
    """The order that the request names, and the number of its stage, 0 for the run; raises `HTTPException`."""
    name, stage = request.query_params.get("order", ""), request.query_params.get("stage", "0")
    if name not in ORDERS or not STAGE_NUMBER.fullmatch(stage):
        raise HTTPException(404)
    return ORDERS[name], int(stage)
