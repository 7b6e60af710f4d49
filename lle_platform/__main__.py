"""`python -m lle_platform` is `lle`."""

import sys

from lle_platform.command import main

if __name__ == "__main__":
    sys.exit(main())
