"""Schema migrations, packaged with the wheel."""

HEAD = "0004"
"""The revision this release needs: the last one in `versions/`."""
