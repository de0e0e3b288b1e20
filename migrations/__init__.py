"""Schema migrations, packaged with the wheel."""

HEAD = "0002"
"""The revision this release wants: the last of `versions/`."""
