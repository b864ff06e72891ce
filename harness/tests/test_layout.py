"""Rules that the whole tree keeps: size, docstrings, links, public names, and who may read a clock."""

import ast
import re
from itertools import chain
from pathlib import Path

import pytest

import harness

HERE = Path(harness.__file__).parent
ROOT = HERE.parent
CLOCKS = {
    "backends/onnx_decoding.py": "notes when the first token of an answer is chosen",
    "measure/rounds.py": "tells how long workers took to start, in a note, and when each launch measured",
    "measure/worker.py": "times answers; no other module does",
    "pipeline/state.py": "dates a measurement",
    "util/decoding.py": "notes the same of PyTorch's answers",
    "util/console.py": "tells how long a stage takes while it runs, between timed calls",
    "util/store.py": "records how long a build took, which is shown but never compared",
}
"""Modules that may read a clock, and why. `selftest/` times the harness itself."""
READERS = re.compile(r"(time|monotonic|perf_counter|process_time|thread_time|clock_gettime)(_ns)?|(utc)?now|today")
BAD_OPENING = re.compile(r"\s*(What|Of|That|Whether|Why|How|Likewise|None of)\b")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)(?:#[^)]*)?\)")
MARKDOWN = sorted(
    path
    for path in chain(
        ROOT.glob("*.md"), *(ROOT.glob(f"{top}/**/*.md") for top in (".github", "harness", "suites", "results"))
    )
    if "local" not in path.relative_to(ROOT).parts
)


def modules(*without):
    paths = {path.relative_to(HERE).as_posix(): path for path in HERE.rglob("*.py")}
    return {name: path for name, path in paths.items() if not name.startswith(without)}


def reads_clock(code):
    """Return True if code takes the time from `time` or `datetime`, or imports a function that does."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            if any(READERS.fullmatch(name.name) for name in node.names):
                return True
        elif isinstance(node, ast.Attribute) and READERS.fullmatch(node.attr):
            owner = node.value.attr if isinstance(node.value, ast.Attribute) else getattr(node.value, "id", "")
            if owner in ("time", "datetime", "date"):
                return True
    return False


def docstrings(code):
    """Yield the line and text of every docstring, including those of attributes."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            yield node.lineno, node.value.value


def test_only_listed_modules_read_a_clock():
    readers = {name for name, path in modules("tests/", "selftest/").items() if reads_clock(path.read_text())}
    assert set(CLOCKS) == readers


@pytest.mark.parametrize(
    "code",
    [
        "from time import perf_counter_ns",
        "import time\nbegan = time.monotonic()",
        "import time\nclock = time.time_ns",
        "from datetime import UTC, datetime\ndatetime.now(UTC)",
        "import datetime\ndatetime.datetime.now()",
    ],
)
def test_every_way_to_read_a_clock_is_detected(code):
    assert reads_clock(code)


@pytest.mark.parametrize(
    "code", ["import time\ntime.sleep(1)", "from time import sleep", "datetime.fromisoformat(text)", "menu.today"]
)
def test_sleeping_and_parsing_dates_read_no_clock(code):
    assert not reads_clock(code)


def test_every_folder_says_what_it_is_for():
    folders = {path.parent for path in HERE.glob("*/*.py")} - {HERE / "tests"}
    docs = {path.name: ast.get_docstring(ast.parse((path / "__init__.py").read_text())) for path in folders}
    assert [] == [name for name, doc in docs.items() if not doc or "TODO" in doc]


def test_docstrings_open_in_plain_english():
    assert [] == [
        f"{name}:{line}: {text.strip().splitlines()[0]}"
        for name, path in modules("tests/").items()
        for line, text in docstrings(path.read_text())
        if BAD_OPENING.match(text)
    ]


def test_attribute_docstrings_are_checked_too():
    assert ["Whether it runs."] == [text for _, text in docstrings('class A:\n    x: int\n    """Whether it runs."""')]


def test_code_outside_tests_stays_small():
    lines = {name: len(path.read_text().splitlines()) for name, path in modules("tests/").items()}
    assert [] == [name for name, count in lines.items() if count > 430]
    assert sum(lines.values()) <= 31_861


def test_readme_is_short():
    assert (ROOT / "README.md").stat().st_size <= 10_240


def test_public_names_are_few_and_exist():
    assert len(harness.__all__) <= 30
    assert [] == [name for name in harness.__all__ if not hasattr(harness, name)]


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_relative_links_lead_to_files(path):
    assert [] == [link for link in LINK.findall(path.read_text()) if not (path.parent / link).exists()]
