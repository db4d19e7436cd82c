"""Lesson 03: annotations audited, frames split into training and validation, boxes drawn."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "audit": "find_faults",
        "author": "usual_split",
        "labels": "check_labels labels_in",
        "labelling": "labelling_widget",
        "reading": "read_annotated",
        "split": "leak_check split_by_clip split_by_frame",
        "statistics": "box_statistics share_under",
        "assemble": "write_dataset",
    },
)
