"""Schema migrations, packaged with the wheel."""

HEAD = "0003"
"""The revision this release needs: the last one in `versions/`."""
