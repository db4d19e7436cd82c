"""`python -m helpers.footage mirror FOLDER [NAME ...]`."""

import sys

from helpers.footage.mirror import main

sys.exit(main(sys.argv[1:]))
