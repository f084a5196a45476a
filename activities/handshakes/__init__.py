"""Handshakes: requests by which providers verify a webhook URL before they send to it, and again from time to time.

A partner's file names the handshake that its partner performs (`Handshake`), or brings a function (`OwnHandshake`). A
handshake proves that the URL is served, or that its owner knows a secret. It says nothing about work, so it settles
nothing.
"""

from activities.handshakes.forms import UNSAFE_TEXT, Form
from activities.handshakes.handshake import AnyHandshake, Handshake, OwnAnswerFunction, OwnHandshake
from activities.handshakes.providers import HANDSHAKES
from activities.handshakes.request import MAX_UNPROVEN_BODY_BYTES, HandshakeRequest, Reply, When

__all__ = [
    "HANDSHAKES",
    "MAX_UNPROVEN_BODY_BYTES",
    "UNSAFE_TEXT",
    "AnyHandshake",
    "Form",
    "Handshake",
    "HandshakeRequest",
    "OwnAnswerFunction",
    "OwnHandshake",
    "Reply",
    "When",
]
