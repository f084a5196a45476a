"""The plays by which the sandbox partner answers a call, and the work that a call has started."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from workflows.contract import Answer


@dataclass(frozen=True)
class Play:
    """How a call is answered.

    status: the HTTP status of the call's immediate answer; no work is started unless it is a 2xx.
    busy: how many tries are answered 503 before that.
    slow: seconds before the immediate answer. delay: seconds from the immediate answer to the callback.
    at_once: the result is in the immediate answer, and no callback follows.
    early: the callback comes before the immediate answer.
    times: how often the callback is sent. lost: the work is done, but no callback is sent.
    forged: a callback with a changed token is sent first.
    missigned: a callback with the signature of another body is sent first, by a partner that signs.
    outcome: what the callback says.
    """

    status: int = 202
    busy: int = 0
    slow: float = 0.0
    delay: float = 0.5
    at_once: bool = False
    early: bool = False
    times: int = 1
    lost: bool = False
    forged: bool = False
    missigned: bool = False
    outcome: Literal["succeeded", "failed"] = "succeeded"


PLAYS: Final[Mapping[str, Play]] = {
    "at-once": Play(at_once=True),
    "later": Play(),
    "twice": Play(times=2),
    "early": Play(early=True),
    "never": Play(times=0),
    "lost": Play(times=0, lost=True),
    "failing": Play(outcome="failed"),
    "slow": Play(slow=3.0),
    "busy": Play(busy=2),
    "refusing": Play(status=422),
    "forged": Play(forged=True),
    "missigned": Play(missigned=True),
}
"""The plays by name. `mixed` in a script picks a play at random, by the app's seed."""


NO_RESULT: Final = Answer("progress")


Kind = Literal["callback", "progress", "forged", "missigned"]


@dataclass
class SentCallback:
    """A callback that was sent: its kind, the status of its answer (0 without an answer), and when (unix seconds)."""

    kind: Kind
    answered: int
    at: float


@dataclass
class Work:
    """Work that a call started, identified by the call's idempotency key. Times are unix seconds.

    done: the result can be asked for. asked: how often the status was asked for.
    stopped: no result will come. undone: the result was revoked. result: what the callback says; not shown.
    """

    id: str
    partner: str
    attempt: int
    play: Play
    called_at: float
    returned_at: float = 0.0
    tries: int = 0
    started: bool = False
    done: bool = False
    asked: int = 0
    stopped: bool = False
    undone: bool = False
    result: Answer = NO_RESULT
    deliveries: list[SentCallback] = field(default_factory=list)
