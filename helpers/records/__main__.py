"""`python -m helpers.records write` and `verify`."""

import sys

from helpers.records.shards import main

sys.exit(main())
