"""Sign a body as its partner does."""

from __future__ import annotations

import time
import uuid
from typing import Any

from activities.signatures import ConfigError, Scheme, SignatureError, SignedRequest
from receiver.cli.errors import CommandError, Exit
from receiver.cli.output import print_json, say
from receiver.cli.signature.captured import read_bytes, read_time
from receiver.cli.signature.setup import no_url, set_up


def sign_file(
    given: dict[str, Any],
    private_key: str,
    url: str,
    at: str | None,
    delivery_id: str | None,
    file: str,
    *,
    as_json: bool,
) -> None:
    """Print the headers that sign the body. given: the options of the scheme. Raises `CommandError`."""
    setup = set_up(given, private_key=private_key)
    now = time.time() if at is None else read_time(at)
    if setup.scheme.covers_url and not url:
        raise no_url(setup.scheme.name)
    headers = _signed(setup.scheme, read_bytes(file), url, now, delivery_id)
    if as_json:
        print_json(headers)
        return
    for name, value in headers:
        say(f"{name}: {value}")


def _signed(scheme: Scheme, body: bytes, url: str, now: float, delivery_id: str | None) -> list[tuple[str, str]]:
    new_id = f"msg_{uuid.uuid4().hex}" if delivery_id is None else delivery_id
    try:
        headers = scheme.sign(body, url=url, now=now, delivery_id=new_id)
        scheme.verify(SignedRequest("POST", url, headers, body), now)
    except ConfigError as error:
        raise CommandError(str(error), scheme.signing_advice, Exit.USAGE) from error
    except SignatureError as error:
        raise _unsignable(error) from error
    return headers


def _unsignable(error: SignatureError) -> CommandError:
    if error.reason == "mismatch":
        # The keys are not a pair: a signature by the private key does not verify with the public key.
        what = "the private key does not belong to the public key that is given as the secret"
        return CommandError(what, "give the two halves of one pair", Exit.USAGE)
    return CommandError(f"this cannot be signed: {error}", "change the body, --url or --id", Exit.USAGE)
