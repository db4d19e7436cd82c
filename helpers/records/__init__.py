"""Lesson 04: TFRecord files, written, verified, and cut into tiles."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "writing": "write_records",
        "verify": "verify_records",
        "tfrecord": "feature_values read_examples training_examples write_examples",
        "tiles": "first_images prepare_records tiles_help",
    },
)
