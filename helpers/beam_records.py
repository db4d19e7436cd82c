"""`python -m helpers.beam_records`: records written with Apache Beam."""

import sys

from helpers.records.beam import main

if __name__ == "__main__":
    sys.exit(main())
