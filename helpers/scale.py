"""`python -m helpers.scale`: one worker of a cluster, or the scoring next to it."""

import os
import sys
import traceback

from helpers.training.worker import main

if __name__ == "__main__":
    try:
        code = main()
    except Exception:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: TensorFlow's own end would wait for workers that may be gone.
    os._exit(code)
