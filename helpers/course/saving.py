"""What JupyterLab saves of a lesson: `make lab` names `without_widgets` as its hook."""

from typing import Any

WIDGET = "application/vnd.jupyter.widget-view+json"
INSTEAD = "(What you can move or draw in appears here when you run this cell.)"


def without_widgets(model: dict[str, Any], **_: Any) -> None:
    """Put a line in the place of each widget before a notebook is saved.

    A widget lives in its kernel; of one that is gone, an opened notebook says "model not found".
    On the page that is being saved it stays. Where the notebook holds the widgets' states, as one
    that papermill ran, nothing is changed.
    """
    page = model.get("content")
    if model.get("type") != "notebook" or not page or page.get("metadata", {}).get("widgets"):
        return
    for cell in page.get("cells", []):
        for output in cell.get("outputs", []):
            if WIDGET in output.get("data", {}):
                output["data"] = {"text/plain": INSTEAD}
