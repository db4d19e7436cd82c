"""Lesson 05: presets, configs and their checks, networks, pretrained weights."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "presets": "PRESETS preset_rows preset_table",
        "config": (
            "difference difference_table edit experiment find_preset flatten from_preset "
            "is_two_stage load_config save_config write_configs"
        ),
        "config_check": "check_config check_share",
        "fitting": "anchor_size at_training_size for_records with_budget",
        "recommendation": "recommend",
        "networks": "build_model",
        "pretrained": "use_pretrained",
        "pipeline.convert": "convert_pipeline",
    },
)
