"""`python -m helpers.pipeline_config`: a config of the old Object Detection API, converted."""

import sys

from helpers.models.pipeline.convert import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
