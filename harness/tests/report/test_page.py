"""The page: everything that was found is on it, nothing of it is fetched, and no name on it does anything."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import factory
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.system import Disturbance
from harness.report import write_page
from harness.report.charts import MOST_MARKS, inline, latencies, sizes, speedups, starting, tradeoff
from harness.report.page import page
from harness.results.schema import Flip
from harness.results.store import save

DISTURBED = Disturbance(
    load_before=2.0, load_after=2.0, foreign_share=0.4, steal_share=None, pressure_share=None, throttled=None,
    mhz_before=None, mhz_after=None, parent_cpu_share=None, switches={},
)  # fmt: skip
VOID = {"meta", "link", "br", "input", "hr", "img"}
NASTY = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\x1b[2J\x00 javascript:alert(3) $x$"


class Reader(HTMLParser):
    """Elements in the order in which they come, and whether they nest."""

    def __init__(self, text):
        super().__init__()
        self.found, self.open, self.words = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert tag == self.open.pop()

    def handle_data(self, text):
        if self.open[-1:] not in (["style"], ["script"], ["title"]):
            self.words.append(text)

    def all(self, *tags):
        return [attributes for tag, attributes in self.found if tag in tags]

    @property
    def text(self):
        return " ".join(" ".join(self.words).split())


def comparison(model="toy-model", task="toy-task", **changed):
    """A comparison of everything that can become of a case."""
    flip = Flip(row=3, label="a", reference="a", own="b", text="what was asked")
    return [
        replace(one, task=task, model=model, **changed)
        for one in (
            factory.result(),
            factory.result("onnxruntime", 1.5, answers=factory.answers(lost=2, flips=(flip,))),
            factory.result("onnxruntime-int8", 0.5),
            factory.failed("broken", "no such operator"),
            factory.unsupported(),
        )
    ]


def backends(text):
    """Of the verdict table's lines."""
    return [attributes["data-backend"] for attributes in Reader(text).all("tr") if "data-backend" in attributes]


def test_what_to_ship_is_the_first_thing_said():
    read = Reader(page(comparison()))
    assert [] == read.open
    assert "toy-task / toy-model on cpu: ship onnxruntime : 1.50x [" in read.text[:400]


def test_the_first_screen_says_how_sure_it_is_of_speed_and_of_loss():
    first = Reader(page(comparison())).text[:600]
    assert "Speed is held against pytorch, the reference; brackets hold what the evidence leaves open (95 %)" in first
    assert re.search(
        r"ship onnxruntime : 1\.50x \[.*, losing 0\.20 points \[.*\] of accuracy where 1 may be lost", first
    )


def test_rows_that_flipped_stand_before_what_disturbed_the_run():
    text = Reader(page([replace(one, disturbance=DISTURBED) for one in comparison()])).text
    assert text.index("what was asked") < text.index("Disturbed: ") < text.index("Rows, recipe, rounds and environment")


def test_every_case_has_its_line_and_what_was_not_measured_its_reason():
    read = Reader(page(comparison()))
    rows = [attributes for attributes in read.all("tr") if "data-backend" in attributes]
    assert {
        "pytorch": "reference", "onnxruntime": "ship", "onnxruntime-int8": "slower", "broken": "failed",
        "onnxruntime-o2": "unsupported",
    } == {row["data-backend"]: row["data-verdict"] for row in rows}  # fmt: skip
    assert "no such operator" in read.text
    assert "Optimum exports no such head" in read.text


def test_a_row_that_flipped_stands_there_with_both_answers():
    read = Reader(page(comparison()))
    assert "3 a a b what was asked" in read.text


def test_every_picture_has_words_for_it_and_its_text_is_text():
    read = Reader(page(comparison()))
    told = [attributes["aria-label"] for attributes in read.all("svg")]
    assert all(attributes["role"] == "img" for attributes in read.all("svg"))
    assert 5 == len(told)
    assert any("onnxruntime at batch 1 1.50x" in one for one in told)
    assert "onnxruntime, batch 16" in read.text


def test_nothing_is_fetched_from_anywhere():
    text = page(comparison())
    read = Reader(text)
    for attributes in [attributes for _, attributes in read.found]:
        for name in ("src", "href", "xlink:href", "action", "srcset"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))
    assert "default-src 'none'" in text
    assert "url(http" not in text


def test_no_element_has_an_id_that_another_has():
    found = [
        attributes["id"]
        for _, attributes in Reader(page(comparison() + comparison("other"))).found
        if "id" in attributes
    ]
    assert len(set(found)) == len(found)


@pytest.mark.parametrize("where", ["model", "task", "backend", "error", "flip", "note"])
def test_names_and_texts_of_others_do_nothing(where):
    group = comparison()
    if where in ("model", "task"):
        group = [replace(one, **{where: NASTY}) for one in group]
    if where == "backend":
        group[1] = replace(group[1], backend=NASTY)
    if where == "error":
        group[3] = replace(group[3], error=replace(group[3].error, message=NASTY))
    if where == "flip":
        flip = Flip(row=3, label=NASTY, reference=NASTY, own=NASTY, text=NASTY)
        group[1] = replace(group[1], answers=replace(group[1].answers, flips=(flip,)))
    if where == "note":
        group = [replace(one, notes=(NASTY,)) for one in group]
    text = page(group)
    plain, nasty = Reader(page(comparison())), Reader(text)
    assert len(plain.all("script")) == len(nasty.all("script"))
    assert [] == nasty.all("img")
    assert not [name for _, attributes in nasty.found for name in attributes if name.startswith("on")]
    assert not set(text) & {"\x1b", "\x00"}


@settings(max_examples=15)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_whatever_an_error_says_the_page_stays_whole(message):
    assert [] == Reader(page([factory.failed(message=message)])).open


ODD = {
    "all failed": [factory.failed("pytorch"), factory.failed()],
    "the reference alone": [factory.result()],
    "one start": [
        factory.result(series=(factory.series(None, launches=1),)),
        factory.result("x", series=(factory.series(launches=1),)),
    ],
    "a lost control": [factory.result(), factory.result("x", series=(factory.series(2.0, control_ns=()),))],
    "speed that is invalid": [factory.result(), factory.result("x", series=(factory.series(2.0, control=1.5),))],
    "no score": [factory.result(answers=replace(factory.answers(), score=None, reference_score=None))],
    "nothing but names": [factory.result("x", process=None, artifact=None, answers=None, data=None, gate=None)],
    "more backends than colours": [factory.result(), *(factory.result(f"b{n}", 1 + n / 10) for n in range(12))],
}


@pytest.mark.parametrize("case", ODD)
def test_whatever_became_of_a_comparison_it_is_drawn(case):
    read = Reader(page(ODD[case]))
    assert [] == read.open
    assert len(ODD[case]) == len([row for row in read.all("tr") if "data-backend" in row])


def drawn_of(found):
    """The picture as SVG."""
    return inline(found.figure, found.told, "p")


def height(found):
    """Of the picture's axes, in inches, as they are drawn."""
    drawn_of(found)
    return found.figure.axes[0].get_position().height * found.figure.get_figheight()


LONG = [factory.result(), *(factory.result(f"a-backend-of-a-very-long-name-number-{n}", 1 + n / 10) for n in range(18))]


@pytest.mark.parametrize("draw", [tradeoff, latencies])
def test_however_many_backends_the_legend_names_each_and_leaves_room(draw):
    found = draw(LONG)
    assert all(one.backend in drawn_of(found) for one in LONG)
    assert height(found) > 1


@pytest.mark.parametrize("draw", [speedups, starting, sizes])
def test_beside_long_names_bars_have_half_of_the_width(draw):
    found = draw(LONG)
    drawn_of(found)
    assert sum(axes.get_position().width for axes in found.figure.axes) > 0.5


def test_what_a_slow_start_comes_to_is_inside_the_picture():
    late = factory.result("compiled", 2.0, process=factory.process(90_000.0), series=(factory.series(1.001),))
    found = starting([factory.result(), late])
    drawn_of(found)
    (said,) = (one for one in found.figure.axes[0].texts if "pays off after" in one.get_text())
    assert said.get_window_extent().x1 < found.figure.bbox.x1
    early = factory.result("early", 0.5, process=factory.process(1.8))
    assert "early 1.80 ms ahead for the first 10 requests" in starting([factory.result(), early]).told


def test_memory_that_nobody_knows_is_not_zero():
    assert "x not known peak memory, MB" in sizes([factory.result("x", process=None)]).told


def test_rows_of_several_lengths_are_drawn_against_them_and_no_more_marks_than_tell():
    lengths = tuple(tuple(range(8, 68)) for _ in range(4))
    group = [
        replace(one, series=tuple(replace(s, lengths=lengths) for s in one.series[:1])) for one in comparison()[:3]
    ]
    read = Reader(page(group))
    assert any("One more element takes on average" in one["aria-label"] for one in read.all("svg"))
    assert len(read.all("use")) < 3 * 2 * MOST_MARKS


def test_what_is_red_stands_at_the_head():
    text = Reader(page(comparison())).text
    assert text.index("no such operator") < text.index("ship onnxruntime")
    assert "measured 2026-01-01" in text


def test_comparisons_whose_names_run_together_have_links_of_their_own():
    both = [factory.result(task="a", model="b-c"), factory.result(task="a-b", model="c")]
    found = [attributes["id"] for _, attributes in Reader(page(both)).found if "id" in attributes]
    assert len(set(found)) == len(found)


def test_a_page_without_results_says_so(tmp_path):
    assert "No results" in page([])


def test_the_page_of_a_machine_is_of_its_results_alone(tmp_path):
    save(tmp_path, factory.result())
    save(tmp_path, factory.result("onnxruntime", environment=factory.elsewhere(machine="other")))
    path = write_page(tmp_path, tmp_path / "own.html", "other")
    assert {"onnxruntime"} == {
        row["data-backend"] for row in Reader(path.read_text()).all("tr") if "data-backend" in row
    }
    both = Reader(write_page(tmp_path, tmp_path / "all.html").read_text())
    assert 2 == len([row for row in both.all("tr") if "data-backend" in row])
