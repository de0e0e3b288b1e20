"""Generates the reference tables of docs/ from the code: settings, metrics, errors, commands.

Usage: python scripts/reference.py [--write]      without --write it names the stale pages and exits 1

A page has its tables between `<!-- begin NAME -->` and `<!-- end NAME -->`; everything else is written by hand.
"""

from __future__ import annotations

import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import click
import msgspec
from prometheus_client import Counter, Histogram

import gateway
import storage
from backends.chatterbox import ChatterboxOptions, ChatterboxSettings
from backends.chatterbox.models import MODELS
from gateway import errors
from gateway.api.openai import errors as openai_errors
from gateway.cli.run import root
from gateway.engines.scale import HostSettings
from gateway.metrics import Metrics
from gateway.settings import SettingDoc, describe

_SPACE_AT_LINE_ENDS = re.compile(r" *\n *")
DOCS = Path(__file__).resolve().parent.parent / "docs"


def settings_tables() -> str:
    """Make a table for the top-level settings and one for each section of voxgate.toml."""
    sections: dict[str, list[SettingDoc]] = {}
    for doc in describe():
        head, _, _ = doc.name.rpartition(".")
        sections.setdefault(head, []).append(doc)
    parts = []
    for section, docs in sections.items():
        if section:
            parts.append(f"### `[{section}]`\n")
        parts.append(_table(("setting", "variable", "what it may be", "default", "meaning"), map(_setting_row, docs)))
    return "\n".join(parts)


def _setting_row(doc: SettingDoc) -> tuple[str, ...]:
    variable = f"`{doc.env}`" + (f", `{doc.alias}`" if doc.alias else "")
    default = f"`{doc.default}`" if doc.default else "none"
    return f"`{doc.name.rpartition('.')[2]}`", variable, doc.type, default, doc.description


def aliases_table() -> str:
    """Make the table of the Chatterbox guide's variables and their settings."""
    rows = [(f"`{doc.alias}`", f"`{doc.name}`", f"`{doc.env}`") for doc in describe() if doc.alias]
    return _table(("the guide's variable", "setting", "our variable"), rows)


def host_table() -> str:
    """Make the table of the host's keys in `[backends.NAME]`."""
    return _struct_table("key", HostSettings)


def chatterbox_settings_table() -> str:
    """Make the table of the plugin's keys in `[backends.chatterbox]`."""
    return _struct_table("key", ChatterboxSettings)


def chatterbox_options_table() -> str:
    """Make the table of Chatterbox's keys in `input.options`."""
    return _struct_table("option", ChatterboxOptions)


def chatterbox_models_table() -> str:
    """Make the table of published models, with the commit this version was made for."""
    rows = [
        (f"`{name}`", f"`{model.repo}` at `{model.commit[:10]}`", " ".join(model.languages), str(len(model.files)))
        for name, model in MODELS.items()
    ]
    return _table(("model", "repository and commit", "languages", "files"), rows)


def _struct_table(head: str, struct: type[msgspec.Struct]) -> str:
    """Make a table of a Struct's fields with the texts of its docstring; `a, b: text` is for both fields."""
    words = {
        name: meaning
        for names, meaning in re.findall(r"^ {8}([\w, ]+): (.*(?:\n {12}.*)*)", struct.__doc__ or "", re.MULTILINE)
        for name in names.split(", ")
    }
    rows = []
    for field in msgspec.structs.fields(struct):
        rows.append((f"`{field.name}`", _default(field.default), " ".join(words[field.name].split())))
    return _table((head, "default", "meaning"), rows)


def _default(value: object) -> str:
    if value is None or value is msgspec.NODEFAULT:
        return "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value:g}`" if isinstance(value, int | float) else f"`{value}`"


def metrics_table() -> str:
    """Make the table of a server's metrics."""
    metrics = Metrics()
    rows = []
    for metric in vars(metrics).values():
        if not hasattr(metric, "describe"):
            continue
        (family,) = metric.describe()
        kind = family.type
        name = f"{family.name}_total" if isinstance(metric, Counter) else family.name
        labels = ", ".join(f"`{label}`" for label in metric._labelnames) or "-"
        rows.append((f"`{name}`", "histogram" if isinstance(metric, Histogram) else kind, labels, family.documentation))
    return _table(("metric", "type", "labels", "meaning"), rows)


def errors_table() -> str:
    """Make the table of error codes, with HTTP status and meaning."""
    rows: dict[str, tuple[str, ...]] = {}
    for kind in _errors_of_ours():
        code = kind.__dict__.get("code")
        if isinstance(code, str) and code not in rows:
            status = errors.status_of(kind.__new__(kind))
            rows[code] = (f"`{code}`", str(status), " ".join(str(kind.__doc__).partition("\n\n")[0].split()))
    rows |= {code: (f"`{code}`", str(status), words) for code, (status, words) in errors.JOB_CODES.items()}
    return _table(("code", "HTTP status", "meaning"), rows.values())


def openai_errors_table() -> str:
    """Make the table of error codes that only OpenAI's API has."""
    rows = [(f"`{code}`", str(status), words) for code, (status, words) in openai_errors.CODES.items()]
    return _table(("code", "HTTP status", "meaning"), rows)


def _errors_of_ours() -> Iterator[type[Exception]]:
    """Yield every exception class of the rooms, those of gateway.errors first; callers see none of the plugins'."""
    names = ["gateway.errors", "backends.interface"]
    for package in (gateway, storage):
        names += [module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    for name in names:
        for kind in vars(importlib.import_module(name)).values():
            if isinstance(kind, type) and issubclass(kind, Exception) and kind.__module__ == name:
                yield kind


def commands() -> str:
    """Describe every command and its options, with the texts of `--help`."""
    return "\n".join(_command(root, "voxgate", None))


def _command(command: click.Command, path: str, parent: click.Context | None) -> Iterator[str]:
    context = click.Context(command, info_name=path.rpartition(" ")[2], parent=parent)
    if parent is not None:
        arguments = " ".join(p.make_metavar(context) for p in command.params if isinstance(p, click.Argument))
        yield f"### `{' '.join(filter(None, (path, arguments)))}`\n"
        yield _SPACE_AT_LINE_ENDS.sub("\n", (command.help or "").strip()) + "\n"
        rows = [
            (f"`{record[0]}`", record[1])
            for p in command.params
            if isinstance(p, click.Option) and (record := p.get_help_record(context)) is not None
        ]
        if rows:
            yield _table(("option", "meaning"), rows)
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None  # listed above
            yield from _command(child, f"{path} {name}", context)


def _table(heads: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(heads) + " |", "| " + " | ".join("---" for _ in heads) + " |"]
    for row in rows:
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |")
    return "\n".join(lines) + "\n"


TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "settings": ("settings.md", settings_tables),
    "aliases": ("settings.md", aliases_table),
    "hosts": ("settings.md", host_table),
    "chatterbox models": ("chatterbox.md", chatterbox_models_table),
    "chatterbox settings": ("chatterbox.md", chatterbox_settings_table),
    "chatterbox options": ("chatterbox.md", chatterbox_options_table),
    "metrics": ("metrics.md", metrics_table),
    "errors": ("errors.md", errors_table),
    "openai errors": ("coming-from-openai.md", openai_errors_table),
    "commands": ("cli.md", commands),
}


def renewed(page: str) -> str:
    """Return the page with tables made from the code."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for name, (where, make) in TABLES.items():
        if where == page:
            begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
            head, found, rest = text.partition(begin)
            _, closed, tail = rest.partition(end)
            if not found or not closed:
                raise SystemExit(f"docs/{page}: has no {begin} … {end}")
            text = f"{head}{begin}\n\n{make().strip()}\n\n{end}{tail}"
    return text


def stale(write: bool = False) -> list[str]:
    """Return the pages whose tables differ from the code; with `write`, also update them."""
    pages = []
    for page in sorted({where for where, _ in TABLES.values()}):
        text = renewed(page)
        if text != (DOCS / page).read_text(encoding="utf-8"):
            pages.append(page)
            if write:
                (DOCS / page).write_text(text, encoding="utf-8")
    return pages


if __name__ == "__main__":
    writing = "--write" in sys.argv[1:]
    found = stale(writing)
    for stale_page in found:
        print(f"docs/{stale_page}: {'renewed' if writing else 'stale; run: make docs'}")
    sys.exit(1 if found and not writing else 0)
