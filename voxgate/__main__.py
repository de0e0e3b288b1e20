"""`python -m voxgate` is the command `voxgate`."""

from gateway.cli import main

main()
