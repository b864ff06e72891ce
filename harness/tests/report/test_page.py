"""The page: complete, self-contained, and inert whatever names and texts it shows."""

import re
from dataclasses import replace

import factory
import pytest
from factory import comparison
from html_reader import Reader
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.system import Disturbance
from harness.report import charts
from harness.report.files import write_page
from harness.report.page import page
from harness.results.schema import Flip
from harness.results.store import save

DISTURBED = Disturbance(
    load_before=2.0, load_after=2.0, foreign_share=0.4, steal_share=None, pressure_share=None, throttled=None,
    mhz_before=None, mhz_after=None, parent_cpu_share=None, switches={},
)  # fmt: skip
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J\x00 javascript:alert(3) $x$"


@pytest.fixture(scope="module")
def text():
    """The page of one comparison."""
    return page(comparison())


@pytest.fixture(scope="module")
def read(text):
    return Reader(text)


def table_rows(read):
    """Rows of the verdict table."""
    return [attributes for attributes in read.all("tr") if "data-backend" in attributes]


def test_head_shows_failures_recommendation_and_certainty(read):
    assert [] == read.open
    text = read.text[:700]
    assert text.index("no such operator") < text.index("toy-task / toy-model on cpu: ship onnxruntime : 1.50x [")
    assert "measured 2026-01-01" in text
    assert "Speed-ups are relative to pytorch, the reference; brackets are 95 % intervals." in text
    assert re.search(r"reference's speed at batch 1, accuracy drops 0\.20 points \[.*\] \(allowed: 1\)", text)


def test_every_case_has_a_row_with_its_reason(read):
    assert {
        "pytorch": "reference", "onnxruntime": "ship", "onnxruntime-int8": "slower", "broken": "failed",
        "onnxruntime-o2": "unsupported",
    } == {row["data-backend"]: row["data-verdict"] for row in table_rows(read)}  # fmt: skip
    assert "Optimum exports no such head" in read.text


def test_flips_stand_between_table_and_disturbances():
    text = Reader(page([replace(one, disturbance=DISTURBED) for one in comparison()])).text
    flip, disturbed = text.index("3 a a b the text of the row"), text.index("Disturbed: ")
    assert flip < disturbed < text.index("Rows, recipe, rounds and environment")


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        (((1,), (1,)), "speed-up, batch 16"),
        (((1, 64), (1, 64)), "speed-up, batch 64"),
        (((1, 16), (1, 64, 256)), "speed-up, other batch (16 to 256)"),
    ],
)
def test_heading_names_the_largest_batch(sizes, expected):
    groups = [
        factory.result(model=f"m{at}", series=tuple(factory.series(None, batch=size) for size in those))
        for at, those in enumerate(sizes)
    ]
    assert f"{expected}</button>" in page(groups)


def test_pictures_have_alternatives_and_real_text(read):
    labels = [attributes["aria-label"] for attributes in read.all("svg")]
    assert all(attributes["role"] == "img" for attributes in read.all("svg"))
    assert 4 == len(labels)
    assert any("onnxruntime at batch 1 1.50x" in label for label in labels)
    assert "onnxruntime, batch 16" in read.text


def test_nothing_is_fetched(text, read):
    for _, attributes in read.found:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))
    assert "default-src 'none'" in text
    assert "url(http" not in text


def test_ids_are_unique():
    similar = [factory.result(task="a", model="b-c"), factory.result(task="a-b", model="c")]
    ids = [
        attributes["id"]
        for _, attributes in Reader(page(comparison() + comparison("other") + similar)).found
        if "id" in attributes
    ]
    assert len(set(ids)) == len(ids)


def test_hostile_names_and_texts_stay_inert():
    flip = Flip(row=3, label=HOSTILE, reference=HOSTILE, own=HOSTILE, text=HOSTILE)
    group = [replace(one, model=HOSTILE, task=HOSTILE, notes=(HOSTILE,)) for one in comparison()]
    group[1] = replace(group[1], backend=HOSTILE, answers=replace(group[1].answers, flips=(flip,)))
    group[3] = replace(group[3], error=replace(group[3].error, message=HOSTILE))
    text = page(group)
    read = Reader(text)
    assert 1 == len(read.all("script"))
    assert [] == read.all("img")
    assert not [name for _, attributes in read.found for name in attributes if name.startswith("on")]
    assert not set(text) & {"\x1b", "\x00"}


@settings(max_examples=15)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_error_message_breaks_the_page(message):
    assert [] == Reader(page([factory.failed(message=message)])).open


ODD = {
    "all failed": [factory.failed("pytorch"), factory.failed()],
    "the reference alone": [factory.result()],
    "one launch": [
        factory.result(series=(factory.series(None, launches=1),)),
        factory.result("x", series=(factory.series(launches=1),)),
    ],
    "a lost control": [factory.result(), factory.result("x", series=(factory.series(2.0, control_ns=()),))],
    "invalid speed": [factory.result(), factory.result("x", series=(factory.series(2.0, control=1.5),))],
    "no score": [factory.result(answers=replace(factory.answers(), score=None, reference_score=None))],
    "names only": [factory.result("x", process=None, artifact=None, answers=None, data=None, gate=None)],
    "more backends than colours": [factory.result(), *(factory.result(f"b{n}", 1 + n / 10) for n in range(12))],
}


@pytest.mark.parametrize("case", ODD)
def test_every_comparison_can_be_drawn(case):
    read = Reader(page(ODD[case]))
    assert [] == read.open
    assert len(ODD[case]) == len(table_rows(read))


def test_page_without_results():
    assert "No results" in page([])


def test_page_of_one_machine(tmp_path):
    save(tmp_path, factory.result())
    save(tmp_path, factory.result("onnxruntime", environment=factory.elsewhere(machine="other")))
    own = Reader(write_page(tmp_path, tmp_path / "own.html", "other").read_text())
    assert ["onnxruntime"] == [row["data-backend"] for row in table_rows(own)]
    both = Reader(write_page(tmp_path, tmp_path / "all.html").read_text())
    assert 2 == len(table_rows(both))


# Charts


def draw(picture):
    """Return the picture as SVG."""
    return charts.inline(picture.figure, picture.alternative, "p")


LONG = [factory.result(), *(factory.result(f"a-backend-of-a-very-long-name-number-{n}", 1 + n / 10) for n in range(18))]


@pytest.mark.parametrize("plot", [charts.plot_tradeoff, charts.plot_latencies])
def test_legend_names_many_backends_and_leaves_room(plot):
    picture = plot(LONG)
    svg = draw(picture)
    assert all(one.backend in svg for one in LONG)
    assert picture.figure.axes[0].get_position().height * picture.figure.get_figheight() > 1


@pytest.mark.parametrize("plot", [charts.plot_speedups, charts.plot_startup])
def test_long_names_leave_half_of_the_width(plot):
    picture = plot(LONG)
    draw(picture)
    assert sum(axes.get_position().width for axes in picture.figure.axes) > 0.5


def test_startup_says_when_it_pays_off():
    late = factory.result("compiled", 2.0, process=factory.process(90_000.0), series=(factory.series(1.001),))
    picture = charts.plot_startup([factory.result(), late])
    draw(picture)
    (label,) = (text for text in picture.figure.axes[0].texts if "pays off after" in text.get_text())
    assert label.get_window_extent().x1 < picture.figure.bbox.x1
    early = factory.result("early", 0.5, process=factory.process(1.8))
    assert "early 1.80 ms never pays off" in charts.plot_startup([factory.result(), early]).alternative


def test_tradeoff_says_gains_for_a_better_score():
    better = factory.result("better", 2.0, answers=factory.answers(lost=1, gained=4))
    assert "score gains 0.30 points [" in charts.plot_tradeoff([factory.result(), better]).alternative
