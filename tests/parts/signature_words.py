"""Words of `stagehook signature` for a published case."""

from __future__ import annotations

from collections.abc import Iterator

from tests.parts.setups import NOW, Setup


def options(setup: Setup, *, signing: bool) -> Iterator[str]:
    """The setup as options of the command."""
    yield from ("--scheme", setup.name, "--secret-env", "SECRET", "--url", setup.url, "--at", str(NOW))
    names = {"header": "signature-header", "private_key": "private-key-env"}
    for name, value in setup.options.items():
        if (name != "private_key" or signing) and name != "tolerance":
            yield from (
                f"--{names.get(name, name.replace('_', '-'))}",
                "PRIVATE" if name == "private_key" else value,
            )


def environment(setup: Setup) -> dict[str, str]:
    return {"SECRET": ",".join(setup.secrets), "PRIVATE": setup.options.get("private_key", "")}
