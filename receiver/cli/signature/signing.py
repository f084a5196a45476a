"""Sign a body as its partner does."""

from __future__ import annotations

import base64
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
    whole: bool,
    as_json: bool,
) -> None:
    """Print the headers that sign the body. given: the options of the scheme. Raises `CommandError`.

    whole: print the whole request, because the signature may be in its URL or body.
    """
    setup = set_up(given, private_key=private_key)
    now = time.time() if at is None else read_time(at)
    if setup.scheme.needs_url and not url:
        raise no_url(setup.scheme.name)
    unsigned = SignedRequest("POST", url, [], read_bytes(file))
    request = _signed(setup.scheme, unsigned, now, delivery_id)
    if whole:
        _print_request(request)
        return
    if (request.url, request.body) != (unsigned.url, unsigned.body):
        what = "the signature or the timestamp is not in a header, but in the URL or the body"
        raise CommandError(what, "give --request, which prints the whole request", Exit.USAGE)
    if as_json:
        print_json(request.headers)
        return
    for name, value in request.headers:
        say(f"{name}: {value}")


def _print_request(request: SignedRequest) -> None:
    """Print the request in a form that `signature verify` reads."""
    body = base64.b64encode(request.body).decode()
    print_json({"method": request.method, "url": request.url, "headers": request.headers, "body": body})


def _signed(scheme: Scheme, request: SignedRequest, now: float, delivery_id: str | None) -> SignedRequest:
    new_id = f"msg_{uuid.uuid4().hex}" if delivery_id is None else delivery_id
    try:
        signed = scheme.sign_request(request, now=now, delivery_id=new_id)
        scheme.verify(signed, now)
    except ConfigError as error:
        raise CommandError(str(error), scheme.signing_advice, Exit.USAGE) from error
    except SignatureError as error:
        raise _unsignable(scheme, error) from error
    return signed


def _unsignable(scheme: Scheme, error: SignatureError) -> CommandError:
    if error.reason == "mismatch" and scheme.takes_private_key:
        # The keys are not a pair: a signature by the private key does not verify with the public key.
        what = "the private key does not belong to the public key that is given as the secret"
        return CommandError(what, "give the two halves of one pair", Exit.USAGE)
    return CommandError(f"this cannot be signed: {error}", "change the body, --url or --id", Exit.USAGE)
