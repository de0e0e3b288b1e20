"""Schema migrations, packaged with the wheel."""
