"""`voxgate models`: lists, fetches and checks model files of backends."""

from __future__ import annotations

import sys
from collections.abc import Callable

import click
import msgspec

from gateway.cli.output import echo_json, echo_table, format_bytes, json_option


class ModelFiles(msgspec.Struct, frozen=True):
    """One model of one backend; `missing` names the files that are missing."""

    backend: str
    model: str
    source: str
    folder: str
    files: int
    missing: tuple[str, ...]
    size_bytes: int


@click.group()
def models() -> None:
    """List, fetch and check model files."""


@models.command(name="list")
@json_option
def list_models(as_json: bool) -> None:
    """List the models the settings ask for, with the number of files present."""
    from gateway.cli.installed import model_stores

    listed = [
        ModelFiles(name, found.name, found.source, str(found.folder), len(found.files), found.missing, found.size_bytes)
        for name, store in model_stores().items()
        for found in store.models()
    ]
    if as_json:
        echo_json(listed)
        return
    echo_table(
        ("backend", "model", "from", "files", "size", "folder"),
        [
            (
                one.backend,
                one.model,
                one.source,
                f"{one.files - len(one.missing)} of {one.files}",
                format_bytes(one.size_bytes),
                one.folder,
            )
            for one in listed
        ],
        empty="no installed backend has model files of its own",
    )


@models.command()
@click.argument("backend", required=False)
def pull(backend: str | None) -> None:
    """Fetch the missing files of BACKEND, or of all; a server then starts without a network."""
    from gateway.cli.installed import model_stores

    for name, store in model_stores(backend).items():
        store.pull(_progress_printer())
        if _live():
            click.echo(err=True)
        for found in store.models():
            click.echo(f"{name}: {found.name} is here, {format_bytes(found.size_bytes)} in {found.folder}")


@models.command()
@click.argument("backend", required=False)
@json_option
def verify(backend: str | None, as_json: bool) -> None:
    """Read every model file of BACKEND, or of all. Exit code 2 if one is missing or broken."""
    from gateway.cli.installed import model_stores

    faults = {name: store.verify() for name, store in model_stores(backend).items()}
    if as_json:
        echo_json(faults)
    else:
        for name, wrong in faults.items():
            for fault in wrong or ("all files are whole",):
                click.echo(f"{name}: {fault}")
    if any(faults.values()):
        raise click.exceptions.Exit(2)


def _progress_printer() -> Callable[[float, str], None]:
    """Return a callback that prints one line per step on stderr; on a terminal the line is updated in place."""
    last, live = "", _live()

    def tell(share: float, text: str) -> None:
        nonlocal last
        head = text.partition(",")[0]
        if live:
            click.echo(("\r\033[K" if head == last else "\n" if last else "") + text, err=True, nl=False)
        elif head != last:
            click.echo(head, err=True)
        last = head

    return tell


def _live() -> bool:
    return sys.stderr.isatty()
