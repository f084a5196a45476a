"""`stagehook signature` with wrong usage, and with the options of the scheme hmac."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest

from activities.signatures import SCHEMES
from activities.signatures.option_help import OPTION_HELP
from tests.parts.setups import SETUPS, URL, WHSEC
from tests.parts.signature_command import (
    BODY,
    GITHUB,
    SECRETS,
    command,
    refused,
    signed_headers,
)
from tests.parts.signature_words import environment

# --- whatever is typed


@pytest.mark.parametrize("verb", ["sign", "verify"])
@pytest.mark.parametrize(
    "args",
    [
        [],
        ["--scheme", "unheard-of", "--secret-env", "SECRET"],
        ["--scheme", "github"],
        ["--scheme", "github", "--secret-env", "NOT_SET"],
        ["--scheme", "github", "--secret-env", "a=b\nc"],
        ["--scheme", "github", "--secret-file", "/nowhere/at/all"],
        ["--scheme", "github", "--secret-file", "/"],
        ["--scheme", "github", "--secret-file", "/dev/null"],
        ["--scheme", "github", "--secret", ""],
        ["--scheme", "github", "--secret", " padded "],
        ["--scheme", "standard-webhooks", "--secret", "whsec_!"],
        ["--scheme", "standard-webhooks", "--secret", "whsec_YWJj"],
        ["--scheme", "adyen-platform", "--secret", "no hex"],
        ["--scheme", "basic", "--secret", "nobody"],
        ["--scheme", "bearer", "--secret", "two words"],
        ["--scheme", "discord", "--secret", "0" * 10],
        ["--scheme", "sendgrid", "--secret", "AAAA"],
        ["--scheme", "hmac", "--secret-env", "SECRET"],
        ["--scheme", "hmac", "--secret-env", "SECRET", "--signature-header", "X Y"],
        ["--scheme", "hmac", "--secret-env", "SECRET", "--signature-header", "X", "--algorithm", "md5"],
        ["--scheme", "hmac", "--secret-env", "SECRET", "--signature-header", "X", "--encoding", "x"],
        ["--scheme", "hmac", "--secret-env", "SECRET", "--signature-header", "X", "--prefix", "a\nb"],
        ["--scheme", "hmac", "--secret-env", "SECRET", "--signature-header", "X", "--signed", "{url}"],
        ["--scheme", "hmac", "--secret-env", "SECRET", "--signature-header", "X", "--signed", "{timestamp}{body}"],
        ["--scheme", "hmac", "--secret-env", "SECRET", "--signature-header", "X", "--timestamp-header", "X"],
        [*GITHUB, "--algorithm", "sha1"],
        [*GITHUB, "--at", "yesterday"],
        [*GITHUB, "--at", "1800000000000"],
        [*GITHUB, "--at", "-1"],
        [*GITHUB, "--at", "nan"],
        [*GITHUB, "--at", "1969-12-31"],
        [*GITHUB, "--at", ""],
        [*GITHUB, "/nowhere/at/all"],
        [*GITHUB, "/"],
        [*GITHUB, "two", "files"],
        [*GITHUB, "/dev/zero"],
        [*GITHUB, "--unheard-of"],
    ],
    ids=str,
)
def test_wrong_usage_is_two_lines_and_exits_2(verb: str, args: list[str]) -> None:
    header = ["--header", "X: y"] if verb == "verify" else []
    refused(command(verb, *args, *header, given=BODY))


@pytest.mark.parametrize("tolerance", ["-1", "x", "1.5"])
def test_what_is_no_tolerance_exits_2(tolerance: str) -> None:
    refused(command("verify", *GITHUB, "--header", "X: y", "--tolerance", tolerance, given=BODY))


@pytest.mark.parametrize("name", ["discord", "sendgrid"])
def test_a_public_key_signs_nothing(name: str) -> None:
    setup = SETUPS[name]
    env = environment(setup)
    args = ("sign", "--scheme", name, "--secret-env", "SECRET")
    assert "cannot sign" in refused(command(*args, given=BODY, env=env))
    assert "private" in refused(command(*args, "--private-key-env", "SECRET", given=BODY, env=env))
    refused(command(*args, "--private-key-env", "NOT_SET", given=BODY, env=env))
    refused(command("sign", *GITHUB, "--private-key-env", "SECRET", given=BODY))


def test_a_body_that_the_url_contradicts_is_not_signed() -> None:
    args = ("sign", "--scheme", "twilio", "--secret-env", "SECRET", "--url", f"{URL}&bodySHA256=00")
    assert "body-mismatch" in refused(command(*args, given=BODY))


@pytest.mark.parametrize("delivery_id", ["", "a\nb", "x" * 300, "\u00e9"])
def test_an_id_that_cannot_be_signed_exits_2(delivery_id: str) -> None:
    args = ("sign", "--scheme", "svix", "--secret-env", "SECRET", "--id", delivery_id)
    done = command(*args, given=BODY, env={"SECRET": WHSEC})
    assert "malformed-id" in refused(done)
    assert "change --id" in done.err


def test_a_public_url_that_is_none_is_told() -> None:
    done = command("verify", *GITHUB, "--header", "X: y", given=BODY, env={**SECRETS, "PUBLIC_URL": "nonsense"})
    assert "PUBLIC_URL" in refused(done)


def test_help_warns_of_secrets_and_lists_every_scheme() -> None:
    shown = " ".join(command("verify", "--help").out.split()).replace("- ", "-")
    assert "process list" in shown
    assert all(name in shown for name in SCHEMES)


# --- the options of hmac

IN_QUERY = (
    "--scheme",
    "hmac",
    "--secret-env",
    "SECRET",
    "--signature",
    "query:sig",
    "--url",
    "https://x.example/a?b=1",
)


def test_a_request_is_printed_whole_as_verify_reads_it() -> None:
    assert "not in a header" in refused(command("sign", *IN_QUERY, given=BODY))
    printed = command("sign", *IN_QUERY, "--request", given=BODY)
    assert printed.code == 0, printed.err
    verified = command("verify", *IN_QUERY[:-2], given=printed.out.encode())
    assert verified.code == 0, verified.out + verified.err


def test_verify_suggests_the_option_that_would_have_matched() -> None:
    hmac = ("--scheme", "hmac", "--secret-env", "SECRET", "--signature-header", "X-Sig")
    stamped = (*hmac, "--timestamp-header", "X-Time", "--signed", "{timestamp}.{body}")
    headers = signed_headers(*stamped, "--time-unit", "ms")
    done = command("verify", *stamped, "--header", "\n".join(headers), given=BODY)
    assert done.code == 1
    assert 'verifies with time_unit="ms"' in done.out
    assert "  try: set the scheme up with the options that are named above\n" in done.out


def test_explain_says_what_is_not_proven() -> None:
    done = command("explain", *GITHUB)
    assert [line.split()[0] for line in done.out.splitlines()] == [
        "scheme",
        "signature",
        "key",
        "signed",
        "proves",
        "not",
        "not",
    ]
    assert "a captured request stays valid" in done.out
    secret = command(
        "explain", "--scheme", "header-secret", "--secret-env", "SECRET", "--signature-header", "X", "--json"
    )
    assert secret.json["proves"] == []
    assert "a-shared-secret" not in secret.out
    assert refused(command("explain", "--scheme", "hmac", "--secret-env", "SECRET"))


def test_explain_says_which_events_and_bodies_are_refused_where() -> None:
    secret = command("explain", "--scheme", "header-secret", "--secret-env", "SECRET", "--signature-header", "X")
    assert "kinds two and three refuse it" in secret.out
    adyen = command("explain", "--scheme", "adyen-classic", "--secret", "AB" * 32)
    assert "proves     each event\n" in adyen.out
    assert "refuse" not in adyen.out


def test_explain_prints_what_its_page_shows() -> None:
    page = (Path(__file__).parents[2] / "docs" / "signatures.md").read_text()
    [line] = [line for line in page.splitlines() if line.startswith("stagehook signature explain")]
    done = command(*shlex.split(line)[2:], env={"ACME_SECRET": "shared"})
    assert f"```\n{done.out}```" in page


def test_every_option_of_a_scheme_has_a_flag_with_help() -> None:
    assert {option for name in SCHEMES for option in SCHEMES[name].options} <= set(OPTION_HELP)
