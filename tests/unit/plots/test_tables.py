import pandas as pd

from helpers import plots


def test_cells_wrap_and_nothing_is_cut(monkeypatch):
    import IPython.display

    shown = []
    monkeypatch.setattr(IPython.display, "display", lambda page, raw: shown.append(page))
    long = "trainer.optimizer_config.learning_rate." * 4
    plots.table(pd.DataFrame({"before": ["a<b"], "after": [None]}, index=[long]))
    html = shown[0]["text/html"]
    assert long in html
    assert long in shown[0]["text/plain"]
    assert "a&lt;b" in html
    assert html.count("overflow-wrap: anywhere") == 6  # the header, the key, both cells
