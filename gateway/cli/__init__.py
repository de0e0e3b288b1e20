"""The commands: each translates a command line into a call of a service, and its answer into lines or JSON."""

from __future__ import annotations


def main(argv: list[str] | None = None) -> None:
    """Run the command line and exit with 0, with 2 and one line on stderr, or with 130 on Ctrl-C."""
    from gateway.cli.run import run  # `voxgate` answers --help before anything heavy is imported

    raise SystemExit(run(argv))
