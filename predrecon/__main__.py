"""`python -m predrecon`: the commands of `predrecon.workbook.commands`."""

import sys

from predrecon.workbook.commands import main

if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):  # a terminal without "·" must not end a run
        stream.reconfigure(errors="backslashreplace")
    sys.exit(main())
