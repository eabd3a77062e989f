"""``python -m fedlib`` is the command ``fedlib``."""

import sys

from fedlib.cli import main

if __name__ == "__main__":
    sys.exit(main())
