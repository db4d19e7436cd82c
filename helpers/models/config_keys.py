"""What the settings do that a newcomer meets; the table is config_keys.yaml."""

from helpers.models.tables import read_table


def meanings() -> dict[str, str]:
    """Return {end of a dotted key: what the setting does}."""
    return read_table("config_keys.yaml")


def meaning(key: str) -> str:
    """Return what the setting with the dotted `key` does; "" where no line tells."""
    ends = [end for end in meanings() if f".{key}".endswith(f".{end}")]
    return meanings()[max(ends, key=len)] if ends else ""
