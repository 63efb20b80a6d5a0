"""`python -m client_emu`."""

import sys

from client_emu.app import main

if __name__ == "__main__":
    sys.exit(main())
