"""All interactive parts of the lessons. Without a live kernel each shows its first state."""

import contextlib
import io
from collections.abc import Callable


def slider(draw: Callable[[float], object], *, label: str, value: float = 0.5) -> None:
    """Show what `draw(value)` returns (a figure or table), redrawn when the slider moves.

    Args:
        draw: takes a number of 0..1, returns something that Jupyter can display. What it prints
            stands above, once.
        label: what the slider sets.
        value: where it starts.
    """
    import ipywidgets
    from IPython.display import display

    control = ipywidgets.FloatSlider(
        value=value,
        min=0.05,
        max=0.95,
        step=0.05,
        description=label,
        continuous_update=False,
        style={"description_width": "initial"},
        layout={"width": "30em"},
    )
    display(control)
    handle = display(draw(value), display_id=True)

    def redraw(change) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            picture = draw(change["new"])
        # Outside: the kernel flushes its own stdout before it displays.
        handle.update(picture)

    control.observe(redraw, names="value")
