"""Silence for what the libraries say about themselves; errors still come through."""

import logging
import os
import sys
import warnings
from pathlib import Path

# TensorFlow reads these when it is imported, which a lesson may do before `start`.
for _name, _value in {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "GLOG_minloglevel": "3",
    "AUTOGRAPH_VERBOSITY": "0",
    # A kernel's PATH need not hold the environment that it runs in.
    "TENSORBOARD_BINARY": str(Path(sys.executable).with_name("tensorboard")),
}.items():
    os.environ.setdefault(_name, _value)


def quiet_libraries() -> None:
    """Silence what the libraries say about themselves; errors still come through."""
    # IPython makes TensorFlow's logger reset its own level on import; a filter stays.
    logger = logging.getLogger("tensorflow")
    if _only_errors not in logger.filters:
        logger.addFilter(_only_errors)
    try:
        from absl import logging as absl_logging

        absl_logging.set_verbosity(absl_logging.ERROR)
    except ImportError:  # TensorFlow is not needed by every lesson
        pass
    silent = ("pkg_resources is deprecated", "IProgress not found")
    # Model Garden's MobileNet gives a map that no pyramid asks for.
    for message in (*silent, "Input dict contained keys"):
        warnings.filterwarnings("ignore", message=f".*{message}")
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)


def _only_errors(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
