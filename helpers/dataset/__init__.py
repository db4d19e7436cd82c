"""Lesson 03: annotations audited, frames split into training and validation, boxes drawn."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "audit": "box_statistics find_faults share_under",
        "split": "check_labels leak_check split_by_frame write_dataset",
        "labelling": "labelling_widget",
    },
)
