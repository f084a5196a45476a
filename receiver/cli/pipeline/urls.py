"""Lengths of callback URLs: a partner may take only short ones, and a run should not learn that at its last stage."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator

from activities.callback_urls import CallbackURLs, Claims
from activities.partners.partner import Partner
from workflows.contract import TOKEN_SLACK, Pipeline


def too_long_urls(
    pipeline: Pipeline,
    find_partner: Callable[[str], Partner | None],
    *,
    public_url: str,
    workflow_id: str,
    token_version: int,
) -> Iterator[str]:
    """Yield a sentence for each stage whose partner does not take callback URLs as long as this run's."""
    urls = CallbackURLs(public_url, ["any key: it does not change the length"])
    now = int(time.time())
    for stage in pipeline.stages:
        partner = find_partner(stage.partner)
        if partner is None or not partner.longest_url:
            continue
        expires_at = int(now + stage.longest_open + TOKEN_SLACK)
        claims = Claims(workflow_id, str(uuid.uuid4()), stage.number, stage.attempts, stage.partner, now, expires_at)
        if flaw := partner.flaw_of_url(urls.issue(claims, token_version)):
            yield f"stage {stage.number} {stage.name}: partner {stage.partner}: {flaw}"
