"""`python -m lowbit`: the same as the command `lowbit`."""

import sys

from lowbit.cli.main import main

sys.exit(main())
