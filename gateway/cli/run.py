"""The root command of the command line, and how it prints errors."""

from __future__ import annotations

import sys

import click

from gateway.cli.group import LazyGroup
from voxgate import __version__

FAILED = 2
INTERRUPTED = 130


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
    places={
        "serve": ("gateway.cli.commands.serve:serve", "Run the gateway."),
        "say": ("gateway.cli.commands.say:say", "Speak a text into a file."),
        "batch": ("gateway.cli.commands.batch:batch", "Speak a script into a folder of files, or into one file."),
        "doctor": (
            "gateway.cli.commands.doctor:doctor",
            "Check this machine, the settings, the database and the backends.",
        ),
        "backends": ("gateway.cli.commands.backends:backends", "List backends: found, missing, broken; test one."),
        "models": ("gateway.cli.commands.models:models", "List, fetch and check model files."),
        "endpoints": ("gateway.cli.commands.endpoints:endpoints", "Make and list the public names in the URL."),
        "keys": ("gateway.cli.commands.keys:keys", "Make, list, rotate and revoke API keys."),
        "voices": ("gateway.cli.commands.voices:voices", "Make voices from recordings; list, play, delete them."),
        "pronunciations": ("gateway.cli.commands.pronunciations:pronunciations", "Set how words are pronounced."),
        "usage": ("gateway.cli.commands.usage:usage", "Sum what was spoken by tenant, backend, day and more."),
        "webhooks": ("gateway.cli.commands.webhooks:webhooks", "List webhooks; show the secret that signs them."),
        "cache": ("gateway.cli.commands.cache:cache", "Show and prune finished audio."),
        "db": ("gateway.cli.commands.db:db", "Migrate and back up the database."),
        "version": ("gateway.cli.commands.version:version", "Print the version."),
    },
)
@click.version_option(__version__, message="%(version)s")
def root() -> None:
    """voxgate: a self-hosted text-to-speech gateway.

    Settings come from VOXGATE_* variables and voxgate.toml (docs/settings.md).
    """


def run(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code: 0, 2 with one line on stderr, or 130 on Ctrl-C."""
    try:
        code = root.main(args=argv, prog_name="voxgate", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:  # its message is the whole help
        click.echo(error.format_message(), err=True)
        return FAILED
    except click.ClickException as error:
        return _print_error(_usage_line(error))
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:  # `voxgate keys list | head -1`
        sys.stderr.close()
        return 0
    except Exception as error:
        if not _is_expected(error):
            raise
        return _print_error(_one_line(error))
    return code if isinstance(code, int) else 0


def _usage_line(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    hint = f" (see: {context.command_path} --help)" if context is not None else ""
    return f"{error.format_message()}{hint}"


def _is_expected(error: Exception) -> bool:
    """Return whether the message alone tells the cause: voxgate's own errors and the operating system's."""
    from backends.interface import BackendUnavailable  # imported only after an error, to keep `--help` fast
    from gateway.errors import VoxgateError
    from storage.errors import StorageError

    return isinstance(error, VoxgateError | StorageError | BackendUnavailable | OSError)


def _one_line(error: Exception) -> str:
    from gateway.cli.output import one_line

    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return one_line(str(error))


def _print_error(line: str) -> int:
    click.echo(f"voxgate: {line}", err=True)
    return FAILED
