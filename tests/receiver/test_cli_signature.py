"""`stagehook signature sign` and `verify`: what the first prints the second takes, and nothing secret is printed."""

from __future__ import annotations

import base64
import json
import re
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jwt import get_algorithm_by_name

from tests.local_stack import run_command
from tests.parts.key_servers import key_server
from tests.parts.setups import EC, NOW, SETUPS, URL, WHSEC, Setup, headed
from tests.parts.signature_command import (
    BODY,
    GITHUB,
    STRIPE,
    command,
    refused,
    signed_headers,
)
from tests.parts.signature_words import environment, options
from tests.parts.vectors import CASES, body_of

# --- sign and verify


@pytest.mark.system
@headed
@given(body=st.binary(max_size=100))
@settings(max_examples=10)
def test_what_sign_prints_verify_takes(setup: Setup, body: bytes) -> None:
    if setup.name == "twilio":
        body = setup.body
    env = environment(setup)
    signed = command("sign", *options(setup, signing=True), "--id", "msg_7", given=body, env=env)
    assert signed.code == 0, signed.err
    verified = command("verify", *options(setup, signing=False), "--header", signed.out, "--json", given=body, env=env)
    assert verified.code == 0, verified.out
    assert verified.json["verified"] is True
    assert verified.json["delivery_id"] == ("msg_7" if setup.with_id else None)
    assert verified.json["timestamp"] == (NOW if setup.timed else None)


@pytest.mark.parametrize("name", ["adyen-classic", "sns"])
def test_a_body_with_its_signature_is_printed_and_verifies(name: str) -> None:
    setup = SETUPS[name]
    env = environment(setup)
    signed = command("sign", *options(setup, signing=True), "--request", given=setup.body, env=env)
    assert signed.code == 0, signed.err
    assert command("verify", *options(setup, signing=False), given=signed.out.encode(), env=env).code == 0
    refused(command("sign", *options(setup, signing=True), given=b"{}", env=env))


def test_what_a_checksum_does_not_prove_is_said() -> None:
    setup = SETUPS["paypal"]
    env = environment(setup)
    says = command("explain", "--scheme", "paypal", "--secret-env", "SECRET", env=env).out
    assert "proves     a checksum of the body, time" in says
    assert "not proven the body, but by its CRC-32" in says
    header = command("sign", *options(setup, signing=True), given=BODY, env=env).out
    good = command("verify", *options(setup, signing=False), "--header", header, given=BODY, env=env)
    assert good.code == 0
    assert "not proven: the body, but by its CRC-32" in good.out
    bad = command("verify", *options(setup, signing=False), "--header", header, given=BODY + b"\n", env=env)
    assert bad.code == 1
    assert "the signature matches the body without a final newline" in bad.out


def test_a_key_of_several_lines_is_one_secret(tmp_path: Path) -> None:
    setup = SETUPS["jwt"]
    file = tmp_path / "key.pem"
    file.write_text(setup.secrets[0] + "\n")
    secret = ("--scheme", "jwt", "--secret-file", str(file))
    given = [
        option for option in options(setup, signing=True) if option not in {"--secret-env", "SECRET", "jwt", "--scheme"}
    ]
    assert command("sign", *secret, *given, given=BODY, env=environment(setup)).code == 0


def test_verify_fetches_published_keys() -> None:
    setup = SETUPS["jwt"]
    with key_server() as served:
        jwk = get_algorithm_by_name("ES256").to_jwk(EC.public_key(), as_dict=True)
        served.documents["/jwks"] = json.dumps({"keys": [jwk]}).encode()
        header = command("sign", *options(setup, signing=True), given=BODY, env=environment(setup)).out
        env = {"SECRET": f"{served.url}/jwks"}
        assert command("verify", *options(setup, signing=False), "--header", header, given=BODY, env=env).code == 0
        served.documents.clear()
        done = command(
            "verify", *options(setup, signing=False), "--header", header, given=BODY, env={"SECRET": f"{served.url}/no"}
        )
        assert (done.code, done.out.splitlines()[0]) == (1, "NOT verified: key")


def test_sign_prints_pairs_as_json_and_lines_for_curl() -> None:
    done = command("sign", *STRIPE, "--at", "2027-01-15T08:00:00Z", "--json", given=BODY)
    [[name, value]] = done.json
    assert command("sign", *STRIPE, "--at", str(NOW), given=BODY).out == f"{name}: {value}\n"


def test_a_delivery_id_is_made_where_none_is_given() -> None:
    svix = ("sign", "--scheme", "svix", "--secret-env", "SECRET", "--json")
    ids = {dict(command(*svix, env={"SECRET": WHSEC}).json)["svix-id"] for _ in range(2)}
    assert len(ids) == 2


def test_the_clock_is_now_unless_it_is_given() -> None:
    [header] = signed_headers(*STRIPE)
    assert abs(int(header.partition("t=")[2].partition(",")[0]) - time.time()) < 30
    assert command("verify", *STRIPE, "--header", header, given=BODY).code == 0
    stale = command("verify", *STRIPE, "--header", header, "--at", "2020-01-01", given=BODY)
    assert stale.code == 1
    assert stale.out.startswith("NOT verified: time\n")
    assert "--at TIME" in stale.out


def test_a_tolerance_may_be_given() -> None:
    headers = signed_headers(*STRIPE, "--at", str(NOW))
    args = ("verify", *STRIPE, "--header", headers[0], "--at", str(NOW + 1000))
    assert command(*args, given=BODY).code == 1
    assert command(*args, "--tolerance", "1000", given=BODY).code == 0


@pytest.mark.system
def test_a_real_process_reads_stdin_and_ends_with_the_verdict(tmp_path: Path) -> None:
    file = tmp_path / "body.json"
    file.write_bytes(BODY)
    env = {"SECRET": "s"}
    headers = run_command("signature", "sign", *GITHUB, str(file), env=env).stdout.decode()
    for body, code, said in ((BODY, 0, "verified"), (BODY + b"\n", 1, "NOT verified: bytes")):
        done = run_command("signature", "verify", *GITHUB, "--header", headers, given=body, env=env)
        assert (done.returncode, done.stdout.decode().splitlines()[0]) == (code, said)
        assert done.stderr == b""


# --- secrets


def test_secrets_come_from_variables_then_files_then_options(tmp_path: Path) -> None:
    file = tmp_path / "secrets"
    file.write_text("\ufeffthird\r\n\nfourth\n")
    given = ("--secret", "fifth", "--secret-file", str(file), "--secret-env", "SECRET")
    for place, secret in enumerate(("first", "second", "third", "fourth", "fifth"), start=1):
        [header] = signed_headers("--scheme", "github", "--secret", secret)
        verified = command(
            "verify",
            "--scheme",
            "github",
            *given,
            "--header",
            header,
            "--json",
            given=BODY,
            env={"SECRET": "first, second"},
        )
        assert verified.json["secret"] == place


@pytest.mark.system
@headed
def test_nothing_secret_and_no_right_signature_is_printed(setup: Setup) -> None:
    """Neither of a request that is wrong, nor by an error about the secrets."""
    env = environment(setup)
    right = command("sign", *options(setup, signing=True), given=setup.body, env=env).out
    values = [line.partition(": ")[2] for line in right.splitlines()]
    header = f"{setup.scheme().header}: x"
    shown = ""
    for extra in ([], ["--json"]):
        args = ("verify", *options(setup, signing=False), "--header", right, *extra)
        shown += command(*args, given=setup.body + b"\n", env=env).out
        shown += command(
            "verify", *options(setup, signing=False), "--header", header, *extra, given=setup.body, env=env
        ).out
    mixed = {**env, "SECRET": f"{env['SECRET']},!"}
    done = command("verify", *options(setup, signing=False), "--header", right, given=setup.body, env=mixed)
    shown += done.out + done.err
    assert "NOT verified" in shown or setup.name in {"basic", "bearer"}
    hidden = [*setup.secrets, *(value for value in values if len(value) > 20), *env["PRIVATE"].split()]
    assert [secret for secret in hidden if secret in shown] == []


# --- what it says


def test_each_step_is_a_line_with_its_state() -> None:
    headers = signed_headers(*STRIPE, "--at", str(NOW))
    done = command("verify", *STRIPE, "--at", str(NOW + 9), "--header", headers[0], given=BODY)
    assert done.out.splitlines() == [
        "verified",
        "ok    header Stripe-Signature is there",
        "ok    time   signed 2027-01-15T08:00:00Z, 9 s before the clock",
        "ok    key    secret 1 of 1",
        "ok    bytes  this body of 8 bytes",
    ]
    wrong = command("verify", *STRIPE, "--at", str(NOW), "--header", headers[0], given=b'{\n "a":1}\n')
    assert wrong.out.splitlines()[0] == "NOT verified: bytes"
    assert wrong.out.splitlines()[-2].startswith("WRONG bytes  these 10 bytes are not what was signed; ")
    assert wrong.out.splitlines()[-1].startswith("  try: ")


def test_the_page_shows_what_it_says_of_another_newline() -> None:
    page = (Path(__file__).parents[2] / "docs" / "signatures.md").read_text()
    [header] = re.findall(r'--header "(X-Hub-Signature-256: .*)"', page)
    done = command("verify", *GITHUB, "--header", header, given=b'{"check": 1}\n', env={"SECRET": "shared"})
    assert done.code == 1
    assert done.out in page


def test_json_tells_step_reason_and_what_to_try() -> None:
    done = command("verify", *STRIPE, "--header", "Stripe-Signature: nonsense", "--json", given=BODY)
    assert done.code == 1
    assert (done.json["verified"], done.json["failed"], done.json["reason"]) == (False, "header", "malformed-header")
    assert [step["step"] for step in done.json["steps"]] == ["header", "time", "key", "bytes"]
    assert done.json["try"]


@pytest.mark.skipif(not CASES, reason="the collection of signatures is not beside the project")
@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['scheme']}: {case['case'][:50]}")
def test_a_published_case_ends_with_the_code_of_its_expectation(case: dict[str, Any], tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text(case["secret"], newline="")
    names = {"header": "signature-header"}
    told = [
        word
        for name, value in case.get("options", {}).items()
        for word in (f"--{names.get(name, name.replace('_', '-'))}", value)
    ]
    line = json.dumps(
        {
            "url": case["url"] or URL,
            "headers": case["headers"],
            "body": base64.b64encode(body_of(case)).decode(),
            "received_at": case["now"] or 0,
        }
    )
    done = command("verify", "--scheme", case["scheme"], "--secret-file", str(file), *told, given=line.encode())
    # A file's last newline is no part of the secret.
    accepted = {"accept": 0, "reject": 1, "config-error": 2, "replay-guard": 0, "config-error-or-trim": 0}
    assert done.code == (0 if case.get("layer") == "parse" else accepted[case["expect"]]), done.out + done.err
