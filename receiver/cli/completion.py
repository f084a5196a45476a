"""`stagehook completion`: print the script with which a shell completes `stagehook` commands."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from receiver.cli.errors import CommandError
from receiver.cli.output import say


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the script that makes TAB complete commands, options and names in this shell.

    \b
    bash  stagehook completion bash > \\
            ~/.local/share/bash-completion/completions/stagehook
    zsh   add to ~/.zshrc:  eval "$(stagehook completion zsh)"
    fish  stagehook completion fish > \\
            ~/.config/fish/completions/stagehook.fish

    The names of partners and pipelines come from earlier commands, which store them in ~/.cache/stagehook. The ids of
    runs come from Temporal, if TEMPORAL_ADDRESS is set and Temporal answers within a second.
    """
    found = get_completion_class(shell)
    if found is None:
        raise CommandError(f"unknown shell {shell!r}", "use bash, zsh or fish")
    say(found(context.find_root().command, {}, "stagehook", "_STAGEHOOK_COMPLETE").source())
