"""Releases that are not made yet: this one with more migrations, for what happens when somebody upgrades."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import migrations

_MIGRATION = """
from alembic import op

revision = {revision!r}
down_revision = {before!r}


def upgrade():
    for statement in {statements!r}:
        op.execute(statement)
"""


def next_release(folder: Path, revision: str, statements: Sequence[str]) -> dict[str, str]:
    """The environment in which the command is of a release whose schema goes one step further.

    Args:
        folder: where its migrations are put.
        revision: what it calls that step.
        statements: the SQL of it.
    """
    copy = folder / "migrations"
    shutil.copytree(Path(migrations.__path__[0]), copy, ignore=shutil.ignore_patterns("__pycache__"))
    step = _MIGRATION.format(revision=revision, before=migrations.HEAD, statements=list(statements))
    (copy / "versions" / f"{revision}_of_the_next_release.py").write_text(step)
    (copy / "__init__.py").write_text(f"HEAD = {revision!r}\n")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}
