"""`python -m helpers.footage mirror FOLDER`."""

import sys

from helpers.footage.datasets import main

sys.exit(main(sys.argv[1:]))
