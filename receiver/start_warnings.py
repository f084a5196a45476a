"""What the log says at the start about settings that are safe only for a while, or only in some networks."""

from __future__ import annotations

import logging
from typing import Final

from activities.environment import is_loopback
from activities.settings import Settings

ON_TRIAL: Final = (
    "TRIAL=1: web itself plays the sample partners, so no result of a run is real; remove TRIAL before you "
    "enable a partner of your own"
)
OVER_HTTP: Final = "ALLOW_HTTP=1: PUBLIC_URL is http, so whoever is on the way can read callback URLs and use them"


def warn_of(settings: Settings, logger: logging.Logger) -> None:
    """Log a warning for each of these settings."""
    if settings.trial:
        logger.warning("trial", extra={"why": ON_TRIAL})
    if settings.public_url.lower().startswith("http:") and not is_loopback(settings.public_url):
        logger.warning("plain-http", extra={"why": OVER_HTTP})
