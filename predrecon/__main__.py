"""`python -m predrecon`: the commands of `predrecon.workbook.commands`."""

import sys

from predrecon.workbook.commands import main

if __name__ == "__main__":
    sys.exit(main())
