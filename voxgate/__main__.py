"""Runs the command `voxgate` for `python -m voxgate`."""

from gateway.cli import main

main()
