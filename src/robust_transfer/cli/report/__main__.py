"""`python -m robust_transfer.cli.report`."""

import sys

from robust_transfer.cli.report import main

if __name__ == "__main__":
    sys.exit(main(None))
