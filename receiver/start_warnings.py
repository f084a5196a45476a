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
IN_DEVELOPMENT: Final = (
    "DEVELOPMENT=1: the sample partners and SQLite are permitted beside a PUBLIC_URL of the internet; remove it in "
    "production"
)
OVER_HTTP: Final = "ALLOW_HTTP=1: PUBLIC_URL is http, so callback URLs can be read on the way, and used"
ENROLLING: Final = (
    "the enrolment word is set, so a key that is sent to the partner's URL with it is taken for the partner's; remove "
    "the word once the key is in the settings"
)


def warn_of(settings: Settings, logger: logging.Logger) -> None:
    """Log a warning for each of these settings."""
    if settings.trial:
        logger.warning("trial", extra={"why": ON_TRIAL})
    if settings.development and not is_loopback(settings.public_url):
        logger.warning("development", extra={"why": IN_DEVELOPMENT})
    if settings.public_url.lower().startswith("http:") and not is_loopback(settings.public_url):
        logger.warning("plain-http", extra={"why": OVER_HTTP})
    for name, partner in settings.partners.items():
        if partner.enrols:
            logger.warning("enrolment-open", extra={"partner": name, "why": ENROLLING})
