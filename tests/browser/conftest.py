"""The browser and the system for the tests of this folder: one of each for a process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.parts.browsers import Watched, chromium, new_context
from tests.parts.console_systems import ConsoleSystem, console_system

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsoleSystem]:
    with console_system(tmp_path_factory.mktemp("console")) as system:
        yield system


@pytest.fixture(scope="session")
def browser(console: ConsoleSystem) -> Iterator[Any]:
    # After the system, which is started in an event loop: playwright has one of its own in this thread.
    with chromium() as browser:
        yield browser


@pytest.fixture(scope="session")
def signed_in(browser: Any, console: ConsoleSystem) -> Any:
    """The cookies of an operator who has signed in."""
    context = new_context(browser)
    page = context.new_page()
    page.goto(f"{console.base}/")
    page.get_by_label("Your name").fill("ada")
    page.get_by_label("Password").fill(console.password)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("heading", name="Waiting").wait_for()
    state = context.storage_state()
    context.close()
    return state


@pytest.fixture
def visitor(browser: Any, console: ConsoleSystem, signed_in: Any) -> Iterator[Callable[..., Watched]]:
    """Makes a page of an operator who has signed in; see `new_context`."""
    contexts: list[Any] = []

    def visit(**options: Any) -> Watched:
        contexts.append(new_context(browser, storage_state=signed_in, **options))
        return Watched(contexts[-1].new_page(), console.base)

    yield visit
    for context in contexts:
        context.close()


def folder_of(variable: str, factory: pytest.TempPathFactory) -> Path:
    """The folder that the variable names, from the project's root, or a temporary one."""
    given = os.environ.get(variable)
    return ROOT / given if given else factory.mktemp("pictures")


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a picture of every page is written."""
    return folder_of("SCREENSHOTS", tmp_path_factory)


@pytest.fixture(scope="session")
def docs_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the pictures of the documentation are written."""
    return folder_of("PICTURES", tmp_path_factory)
