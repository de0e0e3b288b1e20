"""A command group that imports a command only when it is called, which keeps `voxgate --help` fast."""

from __future__ import annotations

import importlib

import click


class LazyGroup(click.Group):
    """A group that knows its commands by name, place (`module:attribute`) and one line of help."""

    def __init__(self, *args: object, places: dict[str, tuple[str, str]], **kwargs: object) -> None:
        super().__init__(*args, **kwargs)  # type: ignore[arg-type]  # click's own arguments, passed on unchanged
        self.places = places

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List the names in the order of their declaration."""
        return list(self.places)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import and return one command."""
        if cmd_name not in self.places:
            return None
        module, _, attribute = self.places[cmd_name][0].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the list of commands without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_line) for name, (_, help_line) in self.places.items()])
