"""Lesson 05: presets, configs and their checks, networks, pretrained weights."""

from helpers.common.exports import exports

__getattr__, __dir__, __all__ = exports(
    __name__,
    {
        "presets": "preset_rows preset_table",
        "config": (
            "anchor_size check_config difference difference_table edit experiment "
            "find_preset flatten for_records from_preset load_config save_config "
            "with_budget write_configs"
        ),
        "config_check": "check_share",
        "networks": "build_model",
        "pretrained": "start_from",
        "pipeline.convert": "convert_pipeline",
    },
)
