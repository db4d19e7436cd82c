"""What every published lesson must satisfy. `problems(path)` says what is wrong, in lines.

python tests/notebooks/gate.py notebooks/*.ipynb
"""

import ast
import re
import sys
from pathlib import Path
from urllib.parse import unquote

import nbformat

from helpers.course.parameters import COMMON, DEFAULTS
from helpers.course.publish import MACHINE_PATH, PAGE_LIMIT, WARNING, output_texts

OPENING = ("What you'll do", "What you'll learn", "What you'll need")
CLOSING = ("## Recap", "## Exercises", "## Next")

_FENCE = re.compile(r"^(```|~~~).*?^\1", re.MULTILINE | re.DOTALL)
_CODE = re.compile(r"`[^`\n]*`")
_PICTURE = re.compile(r"!\[([^\]]*)\]\(\s*<?([^)\s>]*)")
_LINK = re.compile(r"(?<!!)\[[^\]]+\]\(\s*<?([^)\s>]+)")
_HTML_PICTURE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
_ATTRIBUTE = r"\b%s\s*=\s*[\"']([^\"']*)[\"']"
_MINUTES = re.compile(r"\b\d+\s+minutes?\b")


def problems(path: Path) -> list[str]:
    """Return what is wrong with the notebook at `path`, one line each; [] when it passes."""
    path = Path(path)
    page = nbformat.read(path, as_version=4)
    code = [cell for cell in page.cells if cell.cell_type == "code" and cell.source.strip()]
    return [
        *_metadata(page),
        *_size(path),
        *_execution(code),
        *_outputs(code),
        *_beginning(path, code),
        *_prose(path, page.cells),
    ]


def _metadata(page):
    if page.metadata.get("kernelspec", {}).get("name") != "python3":
        yield 'metadata: no kernelspec "python3"; papermill refuses such a notebook'
    if page.metadata.get("language_info", {}).get("name") != "python":
        yield 'metadata: no language_info "python"'
    if "papermill" in page.metadata or "widgets" in page.metadata:
        yield "metadata: left over from a run (papermill, widgets); publish the run instead"


def _size(path):
    size = path.stat().st_size
    if size > PAGE_LIMIT:
        yield f"size: {size / 1000:.0f} kB; at most {PAGE_LIMIT / 1000:.0f}"


def _execution(code):
    counts = [cell.execution_count for cell in code]
    if not any(counts):
        yield "execution: no cell has run; publish a cpu run (python -m helpers.course publish)"
    elif counts != list(range(1, len(code) + 1)):
        yield f"execution: cells ran as {counts}, not 1 to {len(code)} in order"


def _outputs(code):
    for number, cell in enumerate(code, 1):
        for output in cell.outputs:
            if output.output_type == "error":
                yield f"code cell {number}: error output: {output.ename}: {output.evalue}"
                continue
            if output.get("name") == "stderr":
                yield f"code cell {number}: output on stderr"
                continue
            for text in output_texts(output):
                if found := MACHINE_PATH.search(text):
                    yield f"code cell {number}: path of a machine: {found[0]}"
                if found := WARNING.search(text):
                    yield f"code cell {number}: a warning: {found[0]}"


def _beginning(path, code):
    """Imports, parameters, start: the first three code cells."""
    tagged = [
        number
        for number, cell in enumerate(code, 1)
        if "parameters" in cell.metadata.get("tags", [])
    ]
    if len(tagged) != 1:
        yield f"parameters: {len(tagged) or 'no'} cells tagged parameters; exactly one"
        return
    if any("injected-parameters" in cell.metadata.get("tags", []) for cell in code):
        yield "parameters: a cell injected by papermill is left"
        return
    imports = _parse(code[0])
    if tagged != [2] or not all(isinstance(line, ast.Import | ast.ImportFrom) for line in imports):
        yield "parameters: must be the second code cell, after a cell of imports only"
        return
    names = {}
    for line in _parse(code[1]):
        try:
            (target,) = line.targets
            names[target.id] = ast.literal_eval(line.value)
        except (AttributeError, ValueError):
            yield f"parameters: {ast.unparse(line)}: not a plain literal"
            return
    if missing := [name for name in COMMON if name not in names]:
        yield f"parameters: {', '.join(missing)} missing"
    for name, value in DEFAULTS.items():
        if names.get(name, value) != value:
            yield f"parameters: {name} is {names[name]!r}, not the default {value!r}"
    calls = [
        call
        for call in ast.walk(ast.Module(_parse(code[2]) if len(code) > 2 else [], []))
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "start"
    ]
    if not calls:
        yield "start: the third code cell does not call start(...)"
        return
    given = [argument.value for argument in calls[0].args if isinstance(argument, ast.Constant)]
    if given != [path.stem]:
        yield f"start: is given {given}, not the notebook's name {path.stem}"
    passed = {keyword.arg for keyword in calls[0].keywords}
    if passed != set(names):
        yield f"start: parameters not passed on: {', '.join(sorted(passed ^ set(names)))}"


def _prose(path, cells):
    first = cells[0].source if cells and cells[0].cell_type == "markdown" else ""
    opening = []
    for cell in cells:
        if cell.cell_type == "code":
            break
        opening.append(cell.source)
    text = "\n".join(opening).replace("\u2019", "'")
    markdown = [
        _CODE.sub("", _FENCE.sub("", cell.source)) for cell in cells if cell.cell_type == "markdown"
    ]
    lines = [line.rstrip() for source in markdown for line in source.splitlines()]
    headings = [line for line in lines if re.match(r"#{1,6} ", line)]

    if not re.match(r"# \w+ \w", first):
        yield "headings: the first cell does not begin with a title (# Verb ...)"
    elif sum(line.startswith("# ") for line in headings) > 1:
        yield "headings: more than one title (# ...)"
    places = [text.find(heading) for heading in OPENING]
    if missing := [heading for heading, at in zip(OPENING, places, strict=True) if at < 0]:
        yield f"headings: the opening has no {', '.join(missing)}"
    elif places != sorted(places):
        yield f"headings: the opening is not in the order {', '.join(OPENING)}"
    if not _MINUTES.search(text):
        yield "opening: does not say how many minutes the lesson takes"
    sections = [line for line in headings if line.startswith("## ")]
    if missing := [heading for heading in CLOSING if heading not in sections]:
        yield f"headings: no {', '.join(missing)}"
    elif sections[-3:] != list(CLOSING):
        yield f"headings: the lesson does not close with {', '.join(CLOSING)}"
    else:
        closing = "\n".join(lines)[("\n".join(lines)).rindex("## Next") :]
        if not any(_relative(link) for link in _LINK.findall(closing)):
            yield "next: ## Next has no link to the next lesson"
    yield from _links(path, cells, "\n".join(lines))


def _links(path, cells, text):
    attached = {name for cell in cells for name in cell.get("attachments", {})}
    targets = _LINK.findall(text)
    for alternative, target in _PICTURE.findall(text):
        targets.append(target)
        if not alternative.strip():
            yield f"picture: {target[:60]}: no alt text"
    for tag in _HTML_PICTURE.findall(text):
        alternative = re.search(_ATTRIBUTE % "alt", tag)
        if not alternative or not alternative[1].strip():
            yield f"picture: {tag[:60]}: no alt text"
        if source := re.search(_ATTRIBUTE % "src", tag):
            targets.append(source[1])
    for target in dict.fromkeys(targets):
        if target.startswith("attachment:"):
            if unquote(target.removeprefix("attachment:")) not in attached:
                yield f"link: {target}: no such attachment"
        elif _relative(target):
            file = unquote(target.split("#")[0].split("?")[0])
            if not (path.parent / file).exists():
                yield f"link: {target}: no such file"


def _relative(target):
    return not re.match(r"[a-z][a-z0-9+.-]*:|#|/", target, re.IGNORECASE)


def _parse(cell):
    lines = [line for line in cell.source.splitlines() if not line.lstrip().startswith(("%", "!"))]
    try:
        return ast.parse("\n".join(lines)).body
    except SyntaxError:
        return []


if __name__ == "__main__":
    found = [(name, problem) for name in sys.argv[1:] for problem in problems(Path(name))]
    for name, problem in found:
        print(f"{Path(name).name}: {problem}")
    sys.exit(bool(found))
