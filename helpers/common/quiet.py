"""Silence for what the libraries say about themselves; errors still come through."""

import logging
import os
import sys
import warnings
from pathlib import Path

_VARIABLES = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "GRPC_VERBOSITY": "ERROR",
    "GLOG_minloglevel": "3",
    "AUTOGRAPH_VERBOSITY": "0",
    # A kernel's PATH need not hold the environment that it runs in.
    "TENSORBOARD_BINARY": str(Path(sys.executable).with_name("tensorboard")),
}
_MESSAGES = (
    "pkg_resources is deprecated",
    "IProgress not found",
    # Model Garden's MobileNet gives a map that no pyramid asks for.
    "Input dict contained keys",
)


def quiet_libraries() -> None:
    """Silence what the libraries say about themselves; errors still come through.

    Call it before TensorFlow is imported: it reads the environment then.
    """
    for name, value in _VARIABLES.items():
        os.environ.setdefault(name, value)
    # IPython makes TensorFlow's logger reset its own level on import; a filter stays.
    logger = logging.getLogger("tensorflow")
    if _is_error not in logger.filters:
        logger.addFilter(_is_error)
    try:
        from absl import logging as absl_logging

        absl_logging.set_verbosity(absl_logging.ERROR)
    except ImportError:  # TensorFlow is not needed by every lesson
        pass
    for message in _MESSAGES:
        warnings.filterwarnings("ignore", message=f".*{message}")
    for category in (DeprecationWarning, PendingDeprecationWarning, FutureWarning):
        warnings.filterwarnings("ignore", category=category)


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
