"""Groups whose commands are imported when they are called: `voxgate --help` answers at once."""

from __future__ import annotations

import importlib

import click


class LazyGroup(click.Group):
    """A group that knows its commands by name, place (`module:attribute`) and one line of help."""

    def __init__(self, *args: object, places: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click's own arguments, passed on as they came
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names, in the order they were declared."""
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one command."""
        if cmd_name not in self.places:
            return None
        module, _, attribute = self.places[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing one."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in self.places.items()])
