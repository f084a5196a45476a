"""Handshakes at both kinds of our URLs: a file's own, those that bring a key, and the limits of each kind."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from activities.environment import Environment
from activities.handshakes import Handshake, OwnHandshake, Reply
from activities.partners.partner import OwnAnswer, handshake
from activities.partners.received import Received
from activities.sealing import NotSealed, Seals
from activities.signatures import SCHEMES, ConfigError
from receiver import handshakes
from receiver.app import create_app
from receiver.sending.signals import Signals
from tests.parts.callbacks import BASE, CLAIMS, URLS, no_temporal
from tests.parts.one_url import GITHUB, ONE_URL, PLAIN, post, receiver
from tests.parts.strangers import stranger

CALLBACK, SHARED = URLS.issue(CLAIMS), f"{BASE}/partners/bank"
AT_EITHER_URL = pytest.mark.parametrize("url", [CALLBACK, SHARED], ids=["callback", "partner"])
WORD = "an-enrolment-word"
SLACK = {"type": "url_verification", "challenge": "3eZbrw1a"}
