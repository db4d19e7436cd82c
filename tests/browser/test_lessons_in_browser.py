"""What a person sees of the lessons in JupyterLab: sliders move, boxes are drawn, Stop saves."""

import math
import re

from playwright.sync_api import expect

from helpers.annotations.boxes import Box
from helpers.annotations.voc import read_voc
from helpers.common.artifacts import read_manifest
from helpers.course.saving import INSTEAD


def slide(page, label: str) -> None:
    """Move a slider by three steps."""
    handle = page.tab.locator(".widget-slider", has_text=label).locator(".noUi-handle")
    handle.focus()
    for _ in range(3):
        handle.press("ArrowRight")


def test_a_box_drawn_with_the_mouse_is_in_the_file_to_the_pixel(open_lesson, workspace):
    cells = ["frames_folder = lesson.need", "labelling_widget("]
    page = open_lesson("03", cells, labels=["speed_camera"])
    page.run()
    tab, out = page.tab, workspace / "labels"
    picture = tab.locator(".course-labelling img")
    head = tab.locator(".widget-html", has_text=" of 9")
    expect(head).to_contain_text("1 of 9")
    frame = picture.get_attribute("alt")
    before = len(tab.locator(".course-labelling svg rect").all())

    picture.scroll_into_view_if_needed()
    place = picture.bounding_box()
    scale = 640 / place["width"]

    def at(x: float, y: float) -> tuple[float, float]:
        # A mouse is on whole pixels of the screen; a picture may begin between two.
        return math.ceil(place["x"] + x / scale - 0.5), math.ceil(place["y"] + y / scale - 0.5)

    tab.mouse.click(*at(20, 20))
    expect(tab.locator(".course-labelling svg rect")).to_have_count(before)
    tab.mouse.move(*at(100, 50))
    tab.mouse.down()
    tab.mouse.move(*at(150, 90), steps=4)
    tab.mouse.move(*at(181, 133), steps=4)
    tab.mouse.up()
    tab.keyboard.press("n")  # a second one, by keyboard alone
    tab.keyboard.press("Shift+ArrowLeft")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("e")
    tab.keyboard.press("Enter")
    expect(head).to_contain_text("2 of 9")
    *_, mouse, keys = read_voc(out / f"{frame.rpartition('.')[0]}.xml").boxes
    assert mouse.xyxy == (100, 50, 181, 133)
    assert keys == Box("speed_camera", 229, 134, 391, 224)
    assert len(list(out.iterdir())) == 1

    page.command("apputils:change-theme", theme="JupyterLab Dark")
    tab.wait_for_selector("body[data-jp-theme-light=false]", state="attached")
    for text in (".buttons button", ".class-label", ".classes p"):
        for item in tab.locator(f".course-labelling {text}").all():
            assert contrast(item) >= 4.5, item.inner_text()
    for item in tab.locator(".jp-OutputArea-output .widget-html-content").all():
        assert contrast(item) >= 4.5, item.inner_text()


def contrast(item) -> float:
    """The contrast of an element's text with what is behind it, by WCAG's formula."""
    text, *behind = item.evaluate(
        """(el) => {
            const colours = [getComputedStyle(el).webkitTextFillColor];
            for (; el; el = el.parentElement) colours.push(getComputedStyle(el).backgroundColor);
            return colours;
        }"""
    )
    ground = next(colour for colour in map(_rgba, behind) if colour[3] == 1)
    lighter, darker = sorted((_luminance(_rgba(text)), _luminance(ground)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _rgba(css: str) -> tuple[float, float, float, float]:
    red, green, blue, *alpha = (float(number) for number in re.findall(r"[\d.]+", css))
    return red, green, blue, alpha[0] if alpha else 1.0


def _luminance(colour) -> float:
    linear = [
        c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4
        for c in (channel / 255 for channel in colour[:3])
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_the_slider_of_lesson_05_changes_the_picture(open_lesson):
    page = open_lesson(
        "05",
        [
            "config = models.from_preset(preset.name)",
            "records = prepared(config, preset)",
            "config = models.for_records",
            "plots.slider(",
        ],
    )
    page.run()
    picture = page.output("plots.slider(").locator("img")
    before = picture.get_attribute("src")
    slide(page, "strength")
    expect(picture).not_to_have_attribute("src", before, timeout=20_000)
    expect(picture).to_have_count(1)

    # Opened again, it shows what it showed, and no dead widget.
    page.tab.evaluate("window.jupyterapp.commands.execute('docmanager:save')")
    page.tab.reload()
    expect(page.output("plots.slider(").locator("img")).to_have_count(1)
    expect(page.output("plots.slider(").filter(has_text=INSTEAD)).to_have_count(1)
    expect(page.output("records = prepared(").locator("progress")).to_have_count(1)
    expect(page.tab.get_by_text("model not found")).to_have_count(0)


def test_stop_in_lesson_06_saves_a_detector_that_lesson_08_scores(open_lesson, workspace):
    training = "detector, history = training.train("
    cells = ["config = models.load_config", "held_out = lesson.need", training, "lesson.record("]
    page = open_lesson("06", cells)
    page.start()
    curve = page.output(training).locator("img").first
    strip = page.output(training).locator("img").nth(1)
    seen = []
    for _ in range(2):  # they grow in place
        for picture in (curve, strip):
            before = picture.get_attribute("src", timeout=100_000)
            expect(picture).not_to_have_attribute("src", before, timeout=60_000)
            seen.append(before)
    assert len(set(seen)) == 4
    expect(page.output(training).locator("img")).to_have_count(2)
    page.tab.locator("[data-command='notebook:interrupt-kernel']").click()
    page.wait(60)
    counts = read_manifest(workspace / "06_ssd")["counts"]
    assert 0 < counts["stopped_at"] < counts["steps"] == 900
    stopped = f"stopped at step {counts['stopped_at']} of 900"
    expect(page.output(training).filter(has_text=stopped)).to_have_count(1)

    page = open_lesson("08", ["evaluation.evaluate(", "truth_file = records", "plots.slider("])
    page.run()
    expect(page.output("evaluation.evaluate(").filter(has_text=stopped)).to_have_count(1)
    table = page.output("plots.slider(").locator("table")
    expect(table).to_contain_text("threshold 0.50")
    slide(page, "score threshold")
    expect(table).to_contain_text("threshold 0.65")
    expect(table).to_have_count(1)


def test_the_video_of_lesson_00_plays(open_lesson):
    cells = [
        "load_detector(shipped)",
        "footage.render_roadside",
        "annotate_video(",
        "display(Video(",
    ]
    page = open_lesson("00", cells)
    page.run()
    video = page.output("display(Video(").locator("video")
    page.tab.wait_for_function("(video) => video.readyState === 4", arg=video.element_handle())
    video.evaluate("(video) => { video.muted = true; return video.play(); }")
    page.tab.wait_for_function("(video) => video.currentTime > 0", arg=video.element_handle())
