"""As much of the command `jq` as the shell examples use, over its own library, for systems without the command."""

from __future__ import annotations

import json
import sys

import jq

given = sys.argv[1:]
raw = without_input = False
bound = ""
while given and given[0].startswith("-"):
    option = given.pop(0)
    if option == "-r":
        raw = True
    elif option == "-n":
        without_input = True
    elif option == "--arg":
        name = given.pop(0)
        bound += f"{json.dumps(given.pop(0))} as ${name} | "
    else:
        sys.exit(f"jq: this stand-in does not know {option}")
program = jq.compile(bound + given[0])
for value in program.input_value(None) if without_input else program.input_text(sys.stdin.read()):
    print(value if raw and isinstance(value, str) else json.dumps(value, ensure_ascii=False))
