"""The partners that the files in `tests/activities/habits` make, with settings for tests."""

from __future__ import annotations

import base64
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from activities.environment import Environment
from activities.partners.partner import Partner
from tests.activities.habits import checkr, docusign, gocardless, mollie, onfido, plaid, sendgrid

PAIR = ec.generate_private_key(ec.SECP256R1())
PUBLIC = PAIR.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
PRIVATE = PAIR.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
VARIABLES = {
    "PLAID_CLIENT": "a-client",
    **{f"{name}_KEY": "not-a-key" for name in ("PLAID", "ONFIDO", "SENDGRID", "MOLLIE", "DOCUSIGN", "GOCARDLESS")},
    **{f"{name}_SECRET": "not-a-secret" for name in ("PLAID", "ONFIDO", "DOCUSIGN", "GOCARDLESS")},
    "CHECKR_KEY": "not-a-secret",
    "SENDGRID_SECRET": base64.b64encode(PUBLIC).decode(),
    "SENDGRID_PRIVATE_KEY": base64.b64encode(PRIVATE).decode(),
    "DOCUSIGN_URL": "https://demo.docusign.test/restapi/v2.1/accounts/1",
}


def made(factory: Callable[[Environment], Partner]) -> Partner:
    """The partner that a file makes; raises `SettingsError`."""
    environment = Environment(VARIABLES)
    partner = factory(environment)
    environment.check()
    return partner


PLAID, ONFIDO, CHECKR, SENDGRID, MOLLIE, DOCUSIGN, GOCARDLESS = PROVIDERS = [
    made(module.partner) for module in (plaid, onfido, checkr, sendgrid, mollie, docusign, gocardless)
]
