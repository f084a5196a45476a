"""Signed requests, and what the diagnosis says of them."""

from __future__ import annotations

from activities.signatures import SignedRequest
from activities.signatures.diagnosis import STEPS, Diagnosis, diagnose
from tests.parts.setups import NOW, SETUPS, URL, Setup

STRIPE = SETUPS["stripe"]
SIGNED = b'{"a":"\xc3\xa9/x","b":[1,2.50]}'


def diagnosed(setup: Setup, request: SignedRequest, now: float = NOW) -> Diagnosis:
    return diagnose(setup.scheme(), setup.secrets, request, now)


def says(diagnosis: Diagnosis, step: str) -> str:
    [finding] = [finding for finding in diagnosis.findings if finding.step == step]
    return finding.says


def states(diagnosis: Diagnosis) -> list[str]:
    assert tuple(finding.step for finding in diagnosis.findings) == STEPS
    return [finding.state for finding in diagnosis.findings]


DOCUSIGN = SETUPS["docusign"]


def numbered(**values: str) -> SignedRequest:
    """A request of DocuSign's with these of its headers: `n2` is number 2."""
    headers = [(f"X-DocuSign-Signature-{name[1:]}", value) for name, value in values.items()]
    return SignedRequest("POST", URL, headers, DOCUSIGN.body)


STAMPED = {"header": "X-Sig", "timestamp_header": "X-Time", "signed": "{timestamp}.{body}"}
