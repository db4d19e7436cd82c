"""The page of a run: what was trained, scores, pictures, the clip, minutes per lesson."""

import json
import re
from pathlib import Path
from typing import Any

from helpers.common.files import write_text

VIDEO = "11_video/annotated.mp4"
_MODEL = re.compile(r"^(ssd|faster_rcnn)[_.](.+)$", re.IGNORECASE)
_TITLES = {"ssd": "SSD", "faster_rcnn": "Faster R-CNN"}


def write_report(folder: Path, summary: dict) -> Path:
    """Write `report.html` for the workspace `folder` from its summary and return its path.

    One file that works offline: pictures are inside, the video is linked by its relative
    path. Pictures are the outputs of cells tagged `report` in the executed notebooks;
    the caption is the cell's metadata `caption`, else the first line that it printed.
    """
    import jinja2

    longest = max((entry["seconds"] for entry in summary["lessons"].values()), default=1) or 1
    page = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    page.filters |= {"number": number, "words": words, "title": title}
    text = page.from_string(_PAGE).render(
        summary=summary,
        lessons=summary["lessons"],
        longest=longest,
        scores=scores(summary["lessons"]),
        training=training(summary["lessons"]),
        pictures=pictures(folder, summary["lessons"]),
        video=VIDEO if (folder / VIDEO).is_file() else None,
        notebooks={name for name in summary["lessons"] if _executed(folder, name).is_file()},
    )
    path = folder / "report.html"
    write_text(path, text)
    return path


def scores(lessons: dict[str, dict]) -> dict:
    """Return {"columns": [...], "rows": {model: {column: {"value", "low", "high"}}}}.

    Read from the record `scores` ({model: {column: number or [value, low, high]}}) of any
    lesson, the last one winning; without one, from records such as `ssd_AP50`; without those,
    from AP and AP50 of the lessons that train.
    """
    rows: dict[str, dict] = {}
    for entry in lessons.values():
        found = entry["metrics"].get("scores")
        if isinstance(found, dict) and all(isinstance(row, dict) for row in found.values()):
            rows = found
    if not rows:
        for entry in lessons.values():
            for name, value in entry["metrics"].items():
                if (match := _MODEL.match(name)) and _is_number(value):
                    rows.setdefault(match[1].lower(), {})[match[2]] = value
    if not rows:
        for name, entry in lessons.items():
            own = {key: entry["metrics"][key] for key in ("AP", "AP50") if key in entry["metrics"]}
            if own:
                rows[title(name)] = own
    shown = {_TITLES.get(model, words(model)): _cells(row) for model, row in rows.items()}
    columns = list(dict.fromkeys(column for row in shown.values() for column in row))
    return {"columns": columns, "rows": shown}


def training(lessons: dict[str, dict]) -> dict[str, dict]:
    """Return the single numbers and words that the training lessons recorded."""
    return {
        name: {
            key: value
            for key, value in entry["metrics"].items()
            if isinstance(value, str | int | float)
        }
        for name, entry in lessons.items()
        if "_train_" in name and entry["metrics"]
    }


def pictures(folder: Path, lessons: dict[str, dict]) -> list[dict]:
    """Return lesson, source (a data: URL) and caption of every picture tagged for the report."""
    import nbformat

    found = []
    for name in lessons:
        path = _executed(folder, name)
        if not path.is_file():
            continue
        for cell in nbformat.read(path, as_version=4).cells:
            if "report" not in cell.metadata.get("tags", []):
                continue
            outputs = cell.get("outputs", [])
            printed = "".join(
                output.text for output in outputs if output.get("name") == "stdout"
            ).strip()
            caption = cell.metadata.get("caption") or printed.split("\n")[0]
            for output in outputs:
                for kind in ("image/png", "image/jpeg"):
                    if data := output.get("data", {}).get(kind):
                        source = f"data:{kind};base64,{data.strip()}"
                        found.append({"lesson": name, "source": source, "caption": caption})
    return found


def number(value: Any) -> str:
    """Return a value as a person would write it: 0.912, 4.1, 1 200, 3.2 M."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if not _is_number(value):
        text = value if isinstance(value, str) else json.dumps(value)
        return text if len(text) < 160 else text[:150] + " ..."
    if abs(value) >= 1e6:
        return f"{value / 1e6:.1f} M"
    if isinstance(value, int) or abs(value) >= 1000:
        return f"{value:,.0f}".replace(",", "\u202f")
    return f"{value:.3f}" if abs(value) < 1 else f"{value:.1f}" if abs(value) > 1 else "1.000"


def words(name: str) -> str:
    """Return a recorded name as words."""
    return name.replace("_", " ").strip()


def title(lesson: str) -> str:
    """Return "06_train_ssd" as "Train ssd"."""
    text = words(lesson[3:] if lesson[:2].isdigit() else lesson)
    for plain, proper in {
        "ssd": "SSD",
        "faster rcnn": "Faster R-CNN",
        "tfrecords": "TFRecords",
    }.items():
        text = text.replace(plain, proper)
    return text[:1].upper() + text[1:]


def _cells(row: dict) -> dict:
    cells = {}
    for column, value in row.items():
        if column.endswith(("_low", "_high")) and column.rsplit("_", 1)[0] in row:
            continue
        low, high = row.get(f"{column}_low"), row.get(f"{column}_high")
        if isinstance(value, list) and len(value) == 3:
            value, low, high = value
        cells[column] = {
            "value": value,
            "low": low,
            "high": high,
            "share": _is_number(value) and column.startswith("AP") and 0 <= value <= 1,
        }
    return cells


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _executed(folder: Path, name: str) -> Path:
    return folder / "lessons" / f"{name}.ipynb"


_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Detector course: {{ summary.dataset }}, {{ summary.profile }}</title>
<style>
:root { color-scheme: light dark; --page: #f6f7f9; --card: #fff; --ink: #1b2430;
  --soft: #5c6878; --line: #e1e5ea; --blue: #0b62b0; --pale: #d6e6f5; --orange: #b45309; }
@media (prefers-color-scheme: dark) { :root { --page: #12161c; --card: #1a2029; --ink: #e8ecf1;
  --soft: #9aa7b6; --line: #2d3642; --blue: #6db3f2; --pale: #21384f; --orange: #f2a65a; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 40px 24px 64px; }
h1 { font-size: 32px; line-height: 1.2; margin: 0 0 6px; letter-spacing: -.015em; }
h2 { font-size: 20px; margin: 44px 0 14px; letter-spacing: -.01em; }
h3 { font-size: 16px; margin: 0 0 10px; }
p { margin: 0 0 10px; } a { color: var(--blue); }
.soft { color: var(--soft); } small, .small { font-size: 13.5px; }
.facts { display: flex; flex-wrap: wrap; gap: 6px 26px; color: var(--soft); font-size: 14.5px; }
.facts b { color: var(--ink); font-weight: 600; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 12px;
  padding: 20px 22px; }
.grid { display: grid; gap: 18px; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); }
.failed { border-left: 5px solid var(--orange); margin-top: 24px; }
.failed h2 { margin-top: 0; color: var(--orange); }
pre { overflow-x: auto; background: var(--page); border-radius: 8px; padding: 12px 14px;
  font: 13.5px/1.5 ui-monospace, Menlo, Consolas, monospace; margin: 10px 0; }
video, figure img { display: block; width: 100%; height: auto; border-radius: 8px; }
video { background: #000; max-height: 76vh; }
figure { margin: 0; } figure img { background: #fff; }
figure.wide { grid-column: 1 / -1; }
figcaption { margin-top: 10px; font-size: 14.5px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 10px 14px; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th { font-weight: 600; font-size: 14px; color: var(--soft); }
th:first-child, td:first-child { text-align: left; padding-left: 0; color: var(--ink);
  white-space: nowrap; }
tbody tr:last-child > * { border-bottom: 0; }
td .value { font-weight: 600; } td.share { min-width: 120px; }
.interval { color: var(--soft); font-size: 13px; white-space: nowrap; }
.track { position: relative; height: 6px; border-radius: 3px; background: var(--pale);
  margin-top: 6px; }
.track i { position: absolute; inset: 0 auto 0 0; border-radius: 3px; background: var(--blue); }
.track u { position: absolute; top: -2px; height: 10px; border: solid var(--ink);
  border-width: 0 1.5px; background: color-mix(in srgb, var(--ink) 25%, transparent); }
.bars { display: grid; grid-template-columns: max-content 1fr max-content; gap: 9px 16px;
  align-items: center; font-variant-numeric: tabular-nums; }
.bars .bar { height: 14px; border-radius: 4px; background: var(--blue); min-width: 3px; }
.bars .bar.bad { background: var(--orange); }
dl { display: grid; grid-template-columns: 1fr auto; gap: 5px 16px; margin: 0; font-size: 15px; }
dt { color: var(--soft); } dd { margin: 0; text-align: right; font-weight: 600;
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
details { border-bottom: 1px solid var(--line); padding: 9px 0; }
details:last-child { border-bottom: 0; } summary { cursor: pointer; }
details dl { padding: 10px 0 6px 18px; max-width: 620px; }
@media (max-width: 600px) { main { padding: 24px 14px; } .bars { gap: 9px 10px; } }
</style>
</head>
<body>
<main>
<header>
  <h1>Your detector, from footage to video</h1>
  <p class="soft">What this run of the course made, on the dataset <b>{{ summary.dataset }}</b>
  with the profile <b>{{ summary.profile }}</b>{% if summary.profile == "smoke" %}.
  This profile only tests that every lesson runs; its scores mean nothing{% endif %}.</p>
  <div class="facts">
    <span><b>{{ "%.1f"|format(summary.seconds / 60) }}</b> minutes</span>
    <span><b>{{ lessons|length }}</b> lessons</span>
    <span>{{ summary.machine.platform }}, <b>{{ summary.machine.cores }}</b> cores,
      <b>{{ summary.machine.memory_gb }}</b> GB</span>
    <span>split by <b>{{ summary.split }}</b>, seed <b>{{ summary.seed }}</b></span>
    <span>{{ summary.date }}</span>
  </div>
</header>

{% if summary.failed %}
<section class="card failed">
  <h2>{{ summary.failed.lesson }} failed in code cell {{ summary.failed.cell }}</h2>
  <p>{{ summary.failed.error }}</p>
  <pre>{{ summary.failed.source }}</pre>
  <p class="small soft">What was done before it stays. The same command goes on with this
  lesson.</p>
</section>
{% endif %}

{% if video %}
<h2>The detector on a video that it has not seen</h2>
<div class="card"><video src="{{ video }}" controls preload="metadata" playsinline></video>
<p class="small soft" style="margin:10px 0 0">The file: <a href="{{ video }}">{{ video }}</a></p>
</div>
{% endif %}

{% if scores.rows %}
<h2>Scores</h2>
<div class="card scroll">
<table>
  <thead><tr><th>model</th>{% for column in scores.columns %}<th>{{ column|words }}</th>
  {% endfor %}</tr></thead>
  <tbody>
  {% for model, row in scores.rows.items() %}
  <tr><td><b>{{ model }}</b></td>
    {% for column in scores.columns %}
    {% set cell = row.get(column) %}
    {% if cell is none or cell is not defined %}<td>–</td>{% else %}
    <td{% if cell.share %} class="share"{% endif %}><span class="value">{{ cell.value|number }}
      </span>
      {% if cell.low is number and cell.high is number %}
      <span class="interval">{{ cell.low|number }} to {{ cell.high|number }}</span>{% endif %}
      {% if cell.share %}<div class="track"><i style="width:{{ cell.value * 100 }}%"></i>
      {% if cell.low is number and cell.high is number %}<u style="left:{{ cell.low * 100 }}%;
      width:{{ (cell.high - cell.low) * 100 }}%"></u>{% endif %}</div>{% endif %}
    </td>{% endif %}
    {% endfor %}
  </tr>
  {% endfor %}
  </tbody>
</table>
</div>
<p class="small soft" style="margin-top:8px">AP is the average precision over overlaps from 0.5
to 0.95, AP50 at an overlap of 0.5; 1 is perfect. A range is a 95 % interval.</p>
{% endif %}

{% if training %}
<h2>What was trained</h2>
<div class="grid">
  {% for name, values in training.items() %}
  <div class="card"><h3>{{ name|title }}</h3><dl>
    {% for key, value in values.items() %}<dt>{{ key|words }}</dt><dd>{{ value|number }}</dd>
    {% endfor %}<dt>minutes</dt><dd>{{ "%.1f"|format(lessons[name].seconds / 60) }}</dd>
  </dl></div>
  {% endfor %}
</div>
{% endif %}

{% if pictures %}
<h2>Pictures</h2>
<div class="grid">
  {% for picture in pictures %}
  <figure class="card wide"><img alt="{{ picture.caption or picture.lesson|title }}"
    src="{{ picture.source }}">
    <figcaption>{{ picture.caption }} <span class="soft small">{{ picture.lesson }}</span>
    </figcaption></figure>
  {% endfor %}
</div>
{% endif %}

{% if lessons %}
<h2>Minutes per lesson</h2>
<div class="card bars">
  {% for name, entry in lessons.items() %}
  <span>{% if name in notebooks %}<a href="lessons/{{ name }}.ipynb">{{ name }}</a>
    {% else %}{{ name }}{% endif %}</span>
  <span class="bar{{ " bad" if entry.status == "failed" }}"
    style="width:{{ (entry.seconds / longest * 100)|round(1) }}%"></span>
  <span>{{ "%.1f"|format(entry.seconds / 60) }}{{ ", failed" if entry.status == "failed" }}
  {{- ", " ~ entry.profile if entry.profile is defined and entry.profile != summary.profile }}
  </span>
  {% endfor %}
</div>
{% endif %}

<h2>Recorded values</h2>
<div class="card">
  {% for name, entry in lessons.items() if entry.metrics %}
  <details><summary>{{ name }} <span class="soft small">{{ entry.metrics|length }}</span></summary>
  <dl>{% for key, value in entry.metrics.items() %}<dt>{{ key|words }}</dt>
  <dd>{{ value|number }}</dd>{% endfor %}</dl></details>
  {% else %}<p class="soft" style="margin:0">None yet.</p>
  {% endfor %}
</div>
<p class="small soft" style="margin-top:28px">
  {% for name, number in summary.versions.items() %}{{ name }} {{ number }}{{ ", " if not loop.last
  }}{% endfor %}</p>
</main>
</body>
</html>
"""
