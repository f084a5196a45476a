"""LOG_FORMAT and LOG_LEVEL, what is logged at which level, and faults that end a process, for machines."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from logging.handlers import BufferingHandler
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError

from activities.call_errors import CallError
from activities.environment import SettingsError
from activities.log_settings import LogSettings
from receiver.cli.demo.processes import bare_environment
from receiver.log_setup import ACTIVITY_FAILURE, OncePerFailure, log_config, start_logging
from tests.commands import command
from tests.support import KEY


def levels(level: str) -> dict[str, int]:
    config = log_config(LogSettings(level=level))
    return {"": config["root"]["level"]} | {
        name: logger["level"] for name, logger in config["loggers"].items() if "level" in logger
    }


# --- settings


def test_no_line_costs_the_search_for_its_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_srcfile", "logThreads", "logProcesses", "logMultiprocessing"):
        monkeypatch.setattr(logging, name, "put back after the test")
    monkeypatch.setattr("logging.config.dictConfig", lambda _: None)
    monkeypatch.setattr(logging, "captureWarnings", lambda capture: None)
    monkeypatch.setattr(activity.logger, "activity_info_on_message", True)
    monkeypatch.setattr(workflow.logger, "workflow_info_on_message", True)
    for hook in ("sys.excepthook", "sys.unraisablehook", "threading.excepthook"):
        monkeypatch.setattr(hook, None)
    start_logging(LogSettings())
    handler, logger = BufferingHandler(capacity=2), logging.Logger("of-the-test")
    logger.addHandler(handler)
    logger.info("event")
    (record,) = handler.buffer
    assert (record.funcName, record.thread, record.process) == ("(unknown function)", None, None)


def test_without_variables_people_read_the_log_from_info_on() -> None:
    assert LogSettings.from_env({}) == LogSettings("text", "info")
    assert LogSettings.from_env({"LOG_FORMAT": " JSON ", "LOG_LEVEL": "Debug"}) == LogSettings("json", "debug")


def test_wrong_values_are_faults_with_the_lists() -> None:
    with pytest.raises(SettingsError) as raised:
        LogSettings.from_env({"LOG_FORMAT": "xml", "LOG_LEVEL": "loud"})
    assert [str(fault) for fault in raised.value.faults] == [
        "LOG_FORMAT is not the name of a format: use one of text, json",
        "LOG_LEVEL is not the name of a level: use one of debug, info, warning, error, critical",
    ]


@pytest.mark.parametrize("process", [["serve"], ["worker"], ["partner", "serve"]])
def test_every_process_refuses_a_wrong_level(process: list[str]) -> None:
    done = command(*process, LOG_LEVEL="loud")
    assert done.code == 2
    assert "LOG_LEVEL is not the name of a level: use one of debug, info" in done.err


def test_a_local_system_logs_as_its_command_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOG_FORMAT", "json")
    monkeypatch.setenv("LOG_LEVEL", "debug")
    monkeypatch.setenv("DATABASE_URL", "sqlite:////elsewhere")
    env = bare_environment()
    assert (env["LOG_FORMAT"], env["LOG_LEVEL"], "DATABASE_URL" in env) == ("json", "debug", False)


# --- levels


def test_debug_shows_no_payloads_headers_and_urls_of_libraries() -> None:
    quiet = {"httpx": 30, "httpcore": 30, "temporalio.worker._worker": 30}
    assert levels("debug") == {"": 20, "stagehook": 10, **quiet}
    assert levels("info") == {"": 20, "stagehook": 20, **quiet}


def test_a_higher_level_holds_for_everything() -> None:
    assert set(levels("error").values()) == {logging.ERROR}


# --- one line a failure


def sdk_line(error: BaseException) -> logging.LogRecord:
    """What the SDK's worker logs for an activity that failed by this error."""
    record = logging.LogRecord("temporalio.activity", logging.WARNING, "", 0, "Completing activity as failed", (), None)
    record.exc_info = (type(error), error, None)
    vars(record)[ACTIVITY_FAILURE] = "ActivityFailure"
    return record


def test_the_sdks_line_is_dropped_only_for_what_we_have_logged() -> None:
    once = OncePerFailure()
    assert not once.filter(sdk_line(CallError("no", kind="PartnerRefused", final=True)))
    for error in (ValueError("a bug"), ApplicationError("not ours"), KeyError()):
        assert once.filter(sdk_line(error))
    other = sdk_line(CallError("no", kind="PartnerRefused"))
    del vars(other)[ACTIVITY_FAILURE]
    assert once.filter(other)


STRAY = """
import threading, warnings
from temporalio import activity
from activities.call_errors import CallError
from activities.log_settings import LogSettings
from receiver.log_setup import start_logging

class Odd:
    def __del__(self):
        raise ValueError("unraisable")

def fail():
    raise ValueError("in a thread")

start_logging(LogSettings("json"))
warnings.warn("a warning")
for error in (CallError("no", kind="PartnerRefused", final=True), ValueError("a bug")):
    activity.logger.warning("failed", exc_info=error, extra={"__temporal_error_identifier": "ActivityFailure"})
Odd()
thread = threading.Thread(target=fail)
thread.start()
thread.join()
raise ValueError("uncaught")
"""


@pytest.mark.system
def test_what_python_writes_to_stderr_is_an_event_too() -> None:
    """And the SDK's line about an activity is one only for an error that was not expected."""
    done = subprocess.run([sys.executable, "-c", STRAY], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert "a warning" in lines[0]["event"]
    assert [line["traceback"].splitlines()[-1] for line in lines[1:]] == [
        f"ValueError: {text}" for text in ("a bug", "unraisable", "in a thread", "uncaught")
    ]


# --- faults at start


def fault(*words: str, **env: Any) -> dict[str, Any]:
    """The only line that the command writes."""
    done = command(*words, LOG_FORMAT="json", **env)
    assert done.out == ""
    [line] = done.err.splitlines()
    shown: dict[str, Any] = json.loads(line)
    assert shown["code"] == done.code
    assert (shown["level"], shown["logger"], shown["event"]) == ("ERROR", "stagehook", "failed")
    return shown


@pytest.mark.parametrize("process", ["serve", "worker"])
def test_faults_at_the_start_are_a_line_for_machines(process: str) -> None:
    shown = fault(process, LOG_LEVEL="loud")
    assert shown["code"] == 2
    assert shown["why"].startswith(f"{len(shown['faults'])} settings are missing or wrong")
    assert "LOG_LEVEL is not the name of a level: use one of debug, info, warning, error, critical" in shown["faults"]
    assert "traceback" not in shown


def test_wrong_usage_of_a_process_is_a_line_for_machines() -> None:
    assert "--loud" in fault("serve", "--loud")["why"]


def test_an_unexpected_error_has_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr("receiver.settings.WebSettings.from_env", fail)
    shown = fault("serve")
    assert (shown["code"], shown["why"]) == (1, "a bug")
    assert shown["traceback"].endswith("ValueError: a bug")


def test_other_commands_and_other_formats_stay_for_people() -> None:
    assert command("pipeline", "show", "", LOG_FORMAT="json").err.startswith("error: ")
    assert command("serve", LOG_FORMAT="xml").err.startswith("error: ")


def test_a_process_played_here_leaves_the_log_of_the_tests(tmp_path: Path, unused_port: int) -> None:
    handlers, hook = list(logging.getLogger().handlers), sys.excepthook
    settings: dict[str, Any] = {"PUBLIC_URL": "http://127.0.0.1:8000", "CALLBACK_KEYS": KEY, "PARTNERS": "sandbox"}
    settings |= {
        "SANDBOX_URL": "http://127.0.0.1:9",
        "DATABASE_URL": f"sqlite:///{tmp_path}/none.db",
        "PORT": str(unused_port),
    }
    assert command("serve", **settings).code == 1
    assert (logging.getLogger().handlers, sys.excepthook) == (handlers, hook)
