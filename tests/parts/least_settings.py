"""The fewest settings with which a web or worker process starts."""

from __future__ import annotations

from tests.support import KEY

LEAST_SETTINGS = {
    "PUBLIC_URL": "http://127.0.0.1:8000",
    "CALLBACK_KEYS": KEY,
    "PARTNERS": "sandbox",
    "SANDBOX_URL": "http://127.0.0.1:1",
    "TEMPORAL_ADDRESS": "127.0.0.1:1",
}
