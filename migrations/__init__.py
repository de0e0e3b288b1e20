"""Schema migrations, packaged with the wheel."""

HEAD = "0001"
"""The revision this release wants: the last of `versions/`."""
