"""`stagehook key`: the keys that sign callback tokens."""

from __future__ import annotations

import os

import click

from receiver.cli.output import json_option, note, print_json, say


@click.group()
def key() -> None:
    """Keys that sign callback tokens."""


@key.command()
def generate() -> None:
    """Print a new random key for CALLBACK_KEYS."""
    say(_new_key())


@key.command("list")
@json_option
def list_keys(*, as_json: bool) -> None:
    """List the fingerprints of CALLBACK_KEYS. A run's history has the same fingerprints."""
    from activities.callback_urls import fingerprint

    found = [
        {"place": place, "fingerprint": fingerprint(key), "signs": place == 1}
        for place, key in enumerate(_keys(), start=1)
    ]
    if as_json:
        print_json(found)
        return
    for entry in found:
        say(f"{entry['place']}  {entry['fingerprint']}  {'signs and verifies' if entry['signs'] else 'verifies'}")


@key.command()
@json_option
def rotate(*, as_json: bool) -> None:
    """Print the two values of CALLBACK_KEYS that bring in a new key without refusing any live URL.

    The values are secrets: keep them out of logs and shell histories.
    """
    from activities.callback_urls import fingerprint

    keys, new = _keys(), _new_key()
    first, second = ",".join([*keys, new]), ",".join([new, *keys])
    if as_json:
        print_json({"phase_1": first, "phase_2": second, "fingerprint": fingerprint(new)})
        return
    note(
        "phase 1: set CALLBACK_KEYS to this for web and worker, and deploy: every process learns to verify the new key"
    )
    say(first)
    note("phase 2: once all of them run with it, set this and deploy: the new key signs from then on")
    say(second)
    note("afterwards: `stagehook key list` shows the order; drop an old key when no stage that it signed for is open")


def _keys() -> tuple[str, ...]:
    from activities.environment import Environment
    from activities.settings import read_callback_keys

    env = Environment(os.environ)
    keys = read_callback_keys(env)
    env.check()
    return keys


def _new_key() -> str:
    import secrets

    return secrets.token_urlsafe(32)
