"""Tables whose cells wrap, so that long keys and remarks fit the page."""

import re

CELL = "text-align: left; white-space: normal; overflow-wrap: anywhere; vertical-align: top"


def table(frame) -> None:
    """Show a DataFrame with all of its text, wrapped; elsewhere a cell is cut or too narrow."""
    import pandas as pd
    from IPython.display import display

    with pd.option_context("display.max_colwidth", None):
        page = frame.to_html(border=0, na_rep="–")
        text = frame.to_string(na_rep="–")
    # In each cell: a front end may drop a style sheet, and JupyterLab's own comes after it.
    page = re.sub(r"<(th|td)>", rf'<\1 style="{CELL}">', page)
    page = page.replace(f'<th style="{CELL}">', f'<th style="{CELL}; min-width: 6em">')
    display({"text/html": page, "text/plain": text}, raw=True)
