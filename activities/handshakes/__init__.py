"""Handshakes: requests by which providers verify a webhook URL before they send to it, and again from time to time.

A partner's file names the handshake that its partner performs (`Handshake`), or brings a function (`OwnHandshake`). A
handshake proves that the URL is served, or that its owner knows a secret. It says nothing about work, so it settles
nothing.
"""

from activities.handshakes.forms import UNSAFE_TEXT as UNSAFE_TEXT
from activities.handshakes.handshake import AnyHandshake as AnyHandshake
from activities.handshakes.handshake import Handshake as Handshake
from activities.handshakes.handshake import OwnHandshake as OwnHandshake
from activities.handshakes.providers import HANDSHAKES as HANDSHAKES
from activities.handshakes.request import MAX_UNPROVEN_BODY_BYTES as MAX_UNPROVEN_BODY_BYTES
from activities.handshakes.request import HandshakeRequest as HandshakeRequest
from activities.handshakes.request import Reply as Reply
from activities.handshakes.request import When as When
