"""The slider shows its first state without a kernel, and redraws when it is moved."""

import sys

import IPython.display
import pytest

from helpers.plots import widgets


@pytest.fixture
def page(monkeypatch):
    """What was displayed, and what it was replaced by."""
    shown, replaced = [], []

    class Handle:
        def update(self, item):
            sys.stdout.flush()  # as a kernel's display does
            replaced.append(item)

    def display(item, display_id=None):
        shown.append(item)
        return Handle() if display_id else None

    monkeypatch.setattr(IPython.display, "display", display)
    return shown, replaced


def test_slider_shows_its_first_state_and_follows(page):
    shown, replaced = page
    widgets.slider(lambda value: f"at {value:.2f}", label="score threshold", value=0.3)
    control, first = shown
    assert (control.description, control.value, first) == ("score threshold", 0.3, "at 0.30")
    control.value = 0.7
    assert replaced == ["at 0.70"]


def test_what_is_printed_stands_above_once(page, capsys):
    widgets.slider(lambda value: print("Three views.") or value, label="x")
    page[0][0].value = 0.7
    assert page[1] == [0.7]
    assert capsys.readouterr().out == "Three views.\n"


def test_slider_is_redrawn_once_when_it_is_let_go(page):
    widgets.slider(lambda value: value, label="x")
    assert page[0][0].continuous_update is False


def test_slider_does_not_leave_its_range(page):
    widgets.slider(lambda value: value, label="x", value=0.5)
    control = page[0][0]
    control.value = 7
    assert 0 < control.value < 1
