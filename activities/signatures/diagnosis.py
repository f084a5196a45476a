"""Diagnosis: the step at which a signed request fails, and the change that would have made it match.

For people at a terminal. The receiver never uses it: it refuses every invalid request with the same answer.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final, Literal

from activities.signatures import guesses
from activities.signatures.scheme import ConfigError, Scheme, SignatureError, SignedRequest, Verified, lower

Step = Literal["header", "time", "key", "bytes"]
StepState = Literal["ok", "wrong", "unknown"]

STEPS: Final[tuple[Step, ...]] = ("header", "time", "key", "bytes")
"""The steps of every verification, in order."""

STEP_OF: Final[dict[str, Step]] = {
    "missing-header": "header",
    "repeated-header": "header",
    "malformed-header": "header",
    "malformed-id": "header",
    "wrong-claim": "header",
    "malformed-timestamp": "time",
    "stale": "time",
    "malformed-url": "bytes",
    "malformed-body": "bytes",
    "body-mismatch": "bytes",
    "no-key": "key",
}
"""The step at which each reason arises. `mismatch` is not here: it may be due to the key or to the bytes."""

HEADER_WORDS: Final = ("sign", "hmac", "svix", "webhook", "authorization")
VERIFIES_WITH: Final = "the request verifies with "
UNREADABLE_KEY: Final = {"stale", "no-key"}
"""Reasons of a patient scheme that say nothing of key and bytes: an expired certificate, a key that is not here."""

PATIENT: Final = 10**13
"""A tolerance in seconds that accepts every timestamp."""


@dataclass(frozen=True)
class StepResult:
    """The result of a step. unknown: not reached, or indistinguishable from a failure of another step."""

    step: Step
    state: StepState
    says: str


@dataclass(frozen=True)
class Diagnosis:
    """The result of a verification, step by step. reason: that of the `SignatureError`, or "" if it is verified."""

    verified: Verified | None
    reason: str
    findings: tuple[StepResult, ...]

    @property
    def suggests_options(self) -> bool:
        """Whether a finding names the options with which the request verifies."""
        return any(VERIFIES_WITH in finding.says for finding in self.findings)

    @property
    def failed(self) -> str:
        """The step that fails, or `key or bytes` if it may be either; "" if the request is verified."""
        if self.verified:
            return ""
        if self.reason in STEP_OF:
            return STEP_OF[self.reason]
        wrong = [finding.step for finding in self.findings if finding.state == "wrong"]
        return wrong[0] if wrong else " or ".join(found.step for found in self.findings if found.state == "unknown")


def diagnose(scheme: Scheme, secrets: Sequence[str], request: SignedRequest, now: float) -> Diagnosis:
    """Verify the request; if it fails, look for the cause. secrets: the secrets that the scheme was made with."""
    case = _Case(scheme, secrets, request, now)
    try:
        verified = scheme.verify(request, now)
    except SignatureError as error:
        found = {finding.step: finding for finding in case.failed(error)}
        return Diagnosis(None, error.reason, tuple(found.get(step, _unreached(step)) for step in STEPS))
    return Diagnosis(verified, "", (case.header_ok(), case.time_ok(verified), case.key_ok(verified), case.bytes_ok()))


@dataclass(frozen=True)
class _Case:
    scheme: Scheme
    secrets: Sequence[str]
    request: SignedRequest
    now: float

    # --- what is right

    def header_ok(self) -> StepResult:
        names = self._signature_headers or [self.scheme.place]
        return StepResult("header", "ok", f"{' and '.join(names)} {'are' if len(names) > 1 else 'is'} there")

    def time_ok(self, verified: Verified | None) -> StepResult:
        if not self.scheme.covers_time:
            return StepResult("time", "ok", f"not signed by {self.scheme.name}: a captured request stays valid")
        if verified is None or verified.timestamp is None:
            return StepResult("time", "ok", f"within {self.scheme.tolerance} s of the clock")
        return StepResult("time", "ok", self._signed_at(verified.timestamp))

    def key_ok(self, verified: Verified) -> StepResult:
        return StepResult("key", "ok", f"secret {verified.key_index + 1} of {len(self.secrets)}")

    def bytes_ok(self) -> StepResult:
        if self.scheme.covers_event:
            return StepResult("bytes", "ok", f"not proven: {self.scheme.body_limits}")
        if not self.scheme.covers_body:
            whose = "with the credentials" if self.scheme.header_is_secret else "who has seen a signature"
            return StepResult("bytes", "ok", f"not signed: anyone {whose} can send any body")
        return StepResult("bytes", "ok", self._covered)

    @property
    def _signature_headers(self) -> list[str]:
        return [name for name, _ in self.scheme.carried(self.request)]

    @property
    def _covered(self) -> str:
        size = f"this body of {len(self.request.body)} bytes"
        return f"{size} with this URL" if self.scheme.covers_url else size

    def _signed_at(self, timestamp: int) -> str:
        side = "before" if timestamp < self.now else "after"
        return f"signed {_moment(timestamp)}, {_span(abs(self.now - timestamp))} {side} the clock"

    # --- what is wrong

    def failed(self, error: SignatureError) -> Iterator[StepResult]:
        """Yield the findings for a request that the scheme refuses."""
        step = STEP_OF.get(error.reason)
        says = f"{error.reason.replace('-', ' ')}: {error.detail}" if error.detail else error.reason.replace("-", " ")
        if step == "header":
            yield StepResult("header", "wrong", f"{says}{self._similar_headers(error)}{self._other_options()}")
            return
        yield self.header_ok()
        if step == "key":
            yield StepResult("key", "unknown", says)
            return
        if step == "time":
            options = self._other_options()
            yield StepResult("time", "wrong", f"{says}{options or self._milliseconds(error)}")
            if error.reason == "stale" and not options:
                yield from self._patient()
            return
        yield self.time_ok(None)
        if error.reason in {"malformed-url", "malformed-body"}:
            yield StepResult("bytes", "wrong", says)
            return
        yield from self._search(certain=says if step == "bytes" else "")

    def _patient(self) -> Iterator[StepResult]:
        """Yield findings on the key and bytes of a stale request, as if it had come in time."""
        scheme = copy.copy(self.scheme)
        scheme.tolerance = PATIENT
        case = replace(self, scheme=scheme)
        try:
            verified = scheme.verify(self.request, self.now)
        except SignatureError as error:
            if error.reason not in UNREADABLE_KEY:
                yield from case._search()
            return
        yield StepResult(
            "time", "wrong", f"{self._signed_at(verified.timestamp or 0)}; {self.scheme.tolerance} s are allowed"
        )
        yield case.key_ok(verified)
        yield case.bytes_ok()

    def _search(self, *, certain: str = "") -> Iterator[StepResult]:
        """Try changes that may have happened on the way. certain: why the bytes are wrong, if that is known."""
        if self.scheme.header_is_secret:
            yield self._credentials()
            return
        for step, phrase, scheme, request in self._guesses():
            try:
                verified = scheme.verify(request, self.now)
            except SignatureError:
                continue
            yield from (self.key_ok(verified), self.bytes_ok(), StepResult(step, "wrong", phrase))
            return
        if misshapen := self._misshapen():
            yield misshapen
        elif certain:
            yield StepResult("bytes", "wrong", f"{certain}{self._length()}")
        else:
            given = "any of the secrets given" if len(self.secrets) > 1 else "the secret given"
            yield StepResult("key", "unknown", f"if the bytes are right, they were not signed with {given}")
            says = f"if the secret is right, it was not {self._covered} that was signed{self._length()}"
            yield StepResult("bytes", "unknown", says)

    def _guesses(self) -> Iterator[tuple[Step, str, Scheme, SignedRequest]]:
        request, scheme = self.request, self.scheme
        if scheme.options:  # they can be changed, which is the better advice
            yield from self._with_other_options()
        own = self._own()
        for header, given in scheme.carried(request) if own else ():
            for phrase, value in guesses.signatures(given, own):
                pairs = [(name, value if lower(name) == lower(header) else old) for name, old in request.headers]
                yield "header", f"{header} would match {phrase}", scheme, replace(request, headers=pairs)
        for phrase, body in guesses.bodies(request.body, self._content_length()):
            says = f"these {len(request.body)} bytes are not what was signed; the signature matches the body {phrase}"
            yield "bytes", says, scheme, replace(request, body=body)
        for phrase, url in guesses.urls(request.url) if scheme.covers_url else ():
            yield "bytes", f"another URL was signed; the signature matches {phrase}", scheme, replace(request, url=url)
        for place, secret in enumerate(self.secrets, start=1):
            for phrase, key in guesses.keys(secret):
                if (other := scheme.with_key(key)) is not None:
                    yield "key", f"the signature matches secret {place} taken {phrase}", other, request
        if not scheme.options:
            yield from self._with_other_options()

    def _with_other_options(self) -> Iterator[tuple[Step, str, Scheme, SignedRequest]]:
        whose = "" if self.scheme.options else "the scheme hmac as this one and "
        for step, options, other in self.scheme.variants(self.request):
            named = next(name for name in STEPS if name == step)
            yield named, f"{VERIFIES_WITH}{whose}{options}", other, self.request

    def _other_options(self) -> str:
        """Return the options with which the request verifies, as the end of a sentence, or ""."""
        for _, phrase, other, request in self._with_other_options():
            try:
                other.verify(request, self.now)
            except SignatureError:
                continue
            return f"; {phrase}"
        return ""

    def _credentials(self) -> StepResult:
        kind = getattr(self.scheme, "kind", "")
        if kind and self.request.one(self.scheme.header).partition(" ")[0].lower() != kind.lower():
            return StepResult("header", "wrong", f"{self.scheme.header} does not begin with `{kind} `")
        return StepResult("key", "wrong", "the credentials are not those of any secret")

    def _own(self) -> str:
        """Return a signature header made by the scheme, as a model of its form; "" if only the partner can sign."""
        try:
            made = self.scheme.sign(self.request.body, url=self.request.url, now=self.now, delivery_id="guess")
        except (ConfigError, SignatureError):
            return ""
        return dict(made)[self.scheme.header]

    def _misshapen(self) -> StepResult | None:
        """Return a finding if no part of any signature header has the form of a signature."""
        if not self.scheme.fixed_length:
            return None
        marker, length = guesses.form(self._own())
        values = [value for _, value in self.scheme.carried(self.request)]
        if not length or not values or any(guesses.has_form(value, marker, length) for value in values):
            return None
        looked_for = f"`{marker}` with {length} characters" if marker else f"signature of {length} characters"
        names = " or ".join(self._signature_headers)
        return StepResult("header", "wrong", f"no {looked_for} is in {names}, as the first secret makes it")

    def _similar_headers(self, error: SignatureError) -> str:
        """For a missing header, list the request's headers whose names look like a signature's."""
        if error.reason != "missing-header":
            return ""
        names = {name for name, _ in self.request.headers if any(word in name.lower() for word in HEADER_WORDS)}
        listed = ", ".join(sorted(name for name in names if name.isascii() and name.isprintable()))
        return f"; the request has {listed}" if listed else "; the request has none that looks like it"

    def _milliseconds(self, error: SignatureError) -> str:
        names = self.scheme.header.lower(), "time"
        values = [value for name, value in self.request.headers if any(part in name.lower() for part in names)]
        runs = guesses.BASE64_RUN.findall(" ".join(values))
        milliseconds = error.reason == "malformed-timestamp" and any(len(run) == 13 and run.isdigit() for run in runs)
        return "; these look like milliseconds" if milliseconds and "milliseconds" not in error.detail else ""

    def _content_length(self) -> int | None:
        given = self.request.all("content-length")
        return int(given[0]) if len(given) == 1 and re.fullmatch(r"[0-9]{1,12}", given[0]) else None

    def _length(self) -> str:
        given = self._content_length()
        return "" if given in {None, len(self.request.body)} else f", while Content-Length says {given}"


def _unreached(step: Step) -> StepResult:
    return StepResult(step, "unknown", "not reached")


def _span(seconds: float) -> str:
    """Format seconds; from a minute on with days, hours and minutes, such as `7260 s (2 h 1 min)`."""
    days, rest = divmod(round(seconds), 24 * 3600)
    parts = ((days, "d"), (rest // 3600, "h"), (rest // 60 % 60, "min"))
    words = " ".join(f"{count} {unit}" for count, unit in parts if count)
    return f"{seconds:.0f} s ({words})" if words else f"{seconds:.0f} s"


def _moment(timestamp: float) -> str:
    try:
        return datetime.fromtimestamp(timestamp, UTC).isoformat().replace("+00:00", "Z")
    except (ValueError, OverflowError, OSError):
        return f"at {timestamp:.0f}"
