"""`python -m helpers.scale`: one worker of a cluster, or the scoring beside it."""

import os
import sys

from helpers.training.launch import main

if __name__ == "__main__":
    try:
        code = main()
    except Exception:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # At once: TensorFlow's own end would wait for workers that may be gone.
    os._exit(code)
