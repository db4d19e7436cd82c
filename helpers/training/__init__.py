"""Lessons 06, 07 and 12: the training loop, and what is tried before and around it."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "loop": "train",
        "state": "untrained_detector",
        "history": "best_row read_history",
        "snapshots": "read_snapshots",
        "finetuning": "load_pretrained restored_table two_stage",
        "augmentation": "old_augmentation_options preview_augmentation set_augmentation",
        "batch_size": "probe_advice probe_batch_sizes",
        "planted": "CROP_SIDE PLANTED_FAULTS object_crops plant_fault train_on_faults",
        "evaluator": "EVALUATION finished_checkpoints",
        "launcher": "launch",
        "profile": "profile_step",
    },
)
