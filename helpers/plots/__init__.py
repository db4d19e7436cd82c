"""All figures and interactive parts of the lessons, by the stage of the data that they show.

Each figure takes a `caption`: one line that says what it shows. It is printed, and it is the
picture's alt text. Without anything to show, only that line is printed.
"""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "pictures": "images",
        "footage": "contact_sheet heights_over_distance histogram",
        "dataset": "class_bars findings split_strip statistics",
        "models": "augmentations batch_probe learning_rate",
        "training": "consequences history live_history snapshots",
        "inference": "detections_over_time inside proposals",
        "evaluation": "confusion error_bars precision_recall scores",
        "profile": "step_time",
        "tables": "table",
        "widgets": "slider",
    },
)
