"""Makes future releases: this one with more migrations, for tests of upgrades."""

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
    """Return an environment in which the command belongs to a release with one more migration.

    Args:
        folder: for its migrations.
        revision: the id of the migration.
        statements: the SQL of the migration.
    """
    copy = folder / "migrations"
    shutil.copytree(Path(migrations.__path__[0]), copy, ignore=shutil.ignore_patterns("__pycache__"))
    step = _MIGRATION.format(revision=revision, before=migrations.HEAD, statements=list(statements))
    (copy / "versions" / f"{revision}_of_the_next_release.py").write_text(step)
    (copy / "__init__.py").write_text(f"HEAD = {revision!r}\n")
    paths = [str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(paths)}
