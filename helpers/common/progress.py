"""Progress bars: a line of text in a terminal, a line of HTML in a notebook, redrawn in place.

tqdm's own bar for notebooks is a widget, of which a saved notebook keeps no more than a number:
opened again, it says "model not found".
"""

import html
import io
import sys

from tqdm import std

METADATA = "progress"  # marks the output of a bar: [done, all], for who shows or leaves it out


class tqdm(std.tqdm):  # by the name that everybody knows
    """tqdm's bar, which takes the same arguments and has the same methods."""

    def __init__(self, *arguments, **options):
        self._page = None
        self._in_notebook = _in_notebook()
        if self._in_notebook:
            options = {"mininterval": 0.25, **options, "file": io.StringIO()}
        super().__init__(*arguments, **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> None:
        """Draw the bar, or `msg` in its place: "" is how tqdm takes a bar away."""
        if not self._in_notebook:
            return super().display(msg, pos)
        from IPython.display import display

        bundle = self._bundle() if msg is None else {"text/plain": msg, "text/html": msg}
        metadata = {METADATA: [self.n, self.total]}
        if self._page:
            self._page.update(bundle, raw=True, metadata=metadata)
        else:
            self._page = display(bundle, raw=True, metadata=metadata, display_id=True)

    def _bundle(self) -> dict[str, str]:
        values = {**self.format_dict, "ncols": None}
        left, right = (
            self.format_meter(**{**values, "bar_format": part}) for part in ("{l_bar}", "{r_bar}")
        )
        left, right = left.rstrip("| "), right.lstrip("| ")
        if not self.total:
            return {"text/plain": str(self), "text/html": html.escape(str(self))}
        drawn = f'<progress value="{self.n}" max="{self.total}" style="width: 18em"></progress>'
        text = f"{left} {right}"
        page = f"{html.escape(left)} {drawn} {html.escape(right)}"
        return {"text/plain": text, "text/html": page}


def _in_notebook() -> bool:
    """Whether this runs in a Jupyter kernel."""
    ipython = sys.modules.get("IPython")
    return hasattr(ipython.get_ipython(), "kernel") if ipython else False
