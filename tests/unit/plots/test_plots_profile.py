import math

import pytest

from helpers.plots import profile
from helpers.training.profile import PARTS, Step


def test_the_bars_add_up_to_the_step(monkeypatch):
    shown = []
    monkeypatch.setattr(profile.draw, "show", lambda figure, caption: shown.append(figure))
    parts = dict(zip(PARTS, (0.03, 0.01, 0.02, 0.2, 0.04), strict=True))
    profile.step_time(Step(8, 0.3, 0.3, 100.0, {}, parts), caption="?")
    (ax,) = shown[0].axes
    assert math.fsum(bar.get_width() for bar in ax.patches) == pytest.approx(300)
    ends = [bar.get_x() + bar.get_width() for bar in ax.patches]
    assert [bar.get_x() for bar in ax.patches] == pytest.approx([0, *ends[:-1]])
    assert [text.get_text().strip() for text in ax.texts] == [
        "30 ms, 10%",
        "10 ms, 3%",
        "20 ms, 7%",
        "200 ms, 67%",
        "40 ms, 13%",
    ]
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["forward (20%)", "backward (67%)", "optimizer (13%)"]
