"""Tables in Markdown and for the terminal: what they say, and that nothing breaks them."""

import re
from dataclasses import replace

import pytest
from factory import answers, elsewhere, failed, process, result, series, unsupported
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.measure.system import Disturbance
from harness.report.documents import case_line, document, section, summary_table, terminal_text
from harness.report.tables import by_length
from harness.results.schema import Flip, Seed
from harness.spec import Gate
from harness.verdicts.comparability import comparisons
from harness.verdicts.verdict import verdict

LAW = settings(max_examples=25)


def markdown_text(results):
    """Return comparison.md."""
    return document(map(section, comparisons(results)))


def cells(text):
    """Return the cells of every table row in Markdown; an escaped bar does not end its cell."""
    rows = [row for row in text.splitlines() if row.startswith("|")]
    return [[cell.strip() for cell in row.replace("\\\\", "").replace("\\|", "").split("|")[1:-1]] for row in rows]


def main_table(text):
    """Return the rows of the first table."""
    return cells(text.partition("Startup in ms")[0].partition("Rows/s by batch")[0])


def swept(backend, *sizes):
    factor = None if backend == "pytorch" else 2.0
    return result(backend, series=tuple(series(factor, batch=size, noise=0) for size in sizes))


def test_section_gives_recommendation_noise_and_origin():
    text = markdown_text([result(), result("onnxruntime", 2.0)])
    assert text.startswith("# Comparison\n\n## toy-task / toy-model on cpu, machine toy-machine\n")
    assert "**Ship onnxruntime**: 2.00x [2.00, 2.0" in text
    assert "abacus, 2 cores, 2 threads (asleep while idle), Linux 6, Python 3.11, torch 2.13; commit 0123" in text
    assert "The reference against itself, batch 1: 1.000 [" in text
    assert "over 240 rounds in 4 launches." in text
    assert 2 == text.count("The reference against itself, batch ")
    again = result("onnxruntime", 2.0, measurement="ba9876543210")
    assert 4 == markdown_text([result(), again]).count("The reference against itself, batch ")


def test_uncommitted_changes_are_named():
    dirty = markdown_text([result(environment=elsewhere(dirty=True))])
    assert "; commit 0123456789ab with uncommitted changes." in dirty
    assert "; commit unknown." in markdown_text([result(environment=elsewhere(commit=None))])


def test_gpu_and_its_driver_are_named():
    text = markdown_text([result(environment=elsewhere(accelerator="Toy GPU, 570.1"))])
    assert "2 threads (asleep while idle), Toy GPU, 570.1, Linux 6," in text


def test_columns_of_the_main_table():
    head, _, reference, other, broken = main_table(markdown_text([result(), result("onnxruntime", 2.0), failed("z")]))
    assert [
        "backend", "speed-up, batch 1", "ms", "speed-up, batch 16", "rows/s", "score", "drop (points)", "MB",
        "peak RSS (MB)", "verdict",
    ] == head  # fmt: skip
    assert ["pytorch", "1×", "1.00", "1×"] == reference[:4]
    assert ["0.9500", "0", "1.50", "250", "reference"] == reference[5:]
    assert ["onnxruntime *", "0.500", "0.00 [-0.30, +0.30]", "ship"] == [other[0], other[2], other[6], other[-1]]
    assert other[1].startswith("2.00× [")
    assert ["z", *[""] * 8, "failed: out of memory"] == broken


def test_largest_batch_is_the_comparisons_not_the_cases():
    text = markdown_text([swept("pytorch", 1, 16, 64), swept("onnxruntime", 1, 16), swept("z", 1, 16, 64)])
    head, _, reference, small, large = main_table(text)
    assert "speed-up, batch 64" == head[3]
    assert ["1×", "64,000"] == reference[3:5]
    assert ["2.00× [2.00, 2.00]", "", ""] == [small[1], *small[3:5]]
    assert ["2.00× [2.00, 2.00]", "128,000"] == large[3:5]


def test_batch_of_the_gate_leads_the_tables():
    gate = Gate(min_score=0.9, max_drop=0.01, batch=16)
    group = [result(gate=gate, series=(series(None, batch=16), series(None)))]
    group += [result("onnxruntime", gate=gate, series=(series(2.0, batch=16), series(0.5)))]
    text = markdown_text(group)
    head, _, reference, other = main_table(text)
    assert ["speed-up, batch 16", "ms", "speed-up, batch 1", "rows/s"] == head[1:5]
    assert ["1×", "1.00", "1×", "16,000"] == reference[1:5]
    assert ("2.00", "0.500", "0.50", "32,0") == (other[1][:4], other[2], other[3][:4], other[4][:4])
    assert "percentiles, batch 16:" in text
    assert "toy-task/toy-model at batch 16" in summary_table([group])
    assert case_line(group[1]).startswith("ship       ≥ 2.00×, 0.500 ms at batch 16, drop")


def test_single_rows_have_one_speedup_column():
    head, *_ = cells(markdown_text([swept("pytorch", 1), swept("onnxruntime", 1)]))
    assert ["backend", "speed-up, batch 1", "ms", "rows/s"] == head[:4]


def test_throughput_table_from_three_batch_sizes():
    text = markdown_text([swept("pytorch", 1, 16, 64), swept("onnxruntime", 1, 16), failed("z")])
    rows = cells(text.partition("Rows/s by batch")[2].partition("Startup in ms")[0])
    assert ["backend", "batch 1", "batch 16", "batch 64"] == rows[0]
    assert [["pytorch", "1,000", "16,000", "64,000"], ["onnxruntime", "2,000", "32,000", ""]] == rows[2:]
    assert "Rows/s by batch" in terminal_text([swept("pytorch", 1, 16, 64)])
    assert "Rows/s by batch" not in markdown_text([result(), swept("onnxruntime", 1, 16)])


def test_startup_table_says_when_it_pays_off():
    slow = result("onnxruntime", 2.0, process=process(startup_ms=112.0))
    head, _, reference, other = cells(markdown_text([result(), slow]).partition("Startup in ms")[2])
    assert [
        "backend", "import", "load", "compile", "first answer", "startup", "pays off after (requests)", "p90 ≤",
        "p95 ≤", "p99 ≤",
    ] == head  # fmt: skip
    assert ["pytorch", "3.00", "3.00", "3.00", "3.00", "12.0", ""] == reference[:7]
    assert ["onnxruntime", "28.0", "28.0", "28.0", "28.0", "112"] == other[:6]
    assert 200 == pytest.approx(int(other[6]), abs=2)


def measured(lengths):
    """Two backends; a row's time is proportional to its length, and the second is twice as fast."""
    lengths = tuple(lengths)
    times = tuple(1_000_000 * length for length in lengths)
    half = tuple(time // 2 for time in times)
    shared = {"lengths": (lengths,) * 2, "rows": ((0,) * len(lengths),) * 2, "reference_ns": (times,) * 2}
    return [
        result(series=(replace(series(), own_ns=(times,) * 2, control_ns=(), **shared),)),
        result("onnxruntime", series=(replace(series(), own_ns=(half,) * 2, control_ns=(), **shared),)),
    ]


def test_length_ranges_hold_equally_many_rounds():
    view = by_length(measured(range(10, 50)))
    assert ["backend", "10 to 19", "20 to 29", "30 to 39", "40 to 49"] == list(view.columns)
    assert ["pytorch", "14.5 (1.00×)", "24.5 (1.00×)", "34.5 (1.00×)", "44.5 (1.00×)"] == view.iloc[0].tolist()
    assert ["onnxruntime", "7.25 (2.00×)", "12.2 (2.00×)", "17.2 (2.00×)", "22.2 (2.00×)"] == view.iloc[1].tolist()
    assert ["backend", "8 to 15", "16"] == list(by_length(measured([8] * 20 + [16] * 20)).columns)


def test_no_length_table_for_one_length_or_few_rounds():
    assert by_length(measured([8] * 40)).empty
    assert by_length(measured([8, 16, 24, 32])).empty
    assert by_length([failed()]).empty
    assert "by length" not in markdown_text(measured([8] * 40))
    assert "by length" in markdown_text(measured(range(10, 50)))


@pytest.mark.parametrize(
    "several",
    [
        [failed("pytorch"), failed()],
        [unsupported()],
        [result(process=None, artifact=None)],
        [result(series=(series(rounds=2, launches=1),))],
        [result("onnxruntime", series=(series(rounds=2, launches=1),))],
        [result("onnxruntime", series=(series(control_ns=()),))],
        [result("onnxruntime", answers=answers(score=0.9, reference_score=None))],
        [failed("pytorch", data=None, checkpoint=None)],
        [],
    ],
    ids=["failed", "unsupported", "no process", "reference, few", "few", "no control", "undefined", "names", "nothing"],
)
def test_missing_values_are_never_printed(several):
    for text in (markdown_text(several), terminal_text(several)):
        assert "nan" not in text
        assert "None" not in text


def test_terminal_shows_fewer_columns_and_bare_verdicts():
    text = terminal_text([result(), result("onnxruntime", 2.0), failed("z", message="a\nb")])
    assert "toy-task / toy-model on cpu\n" in text
    assert "\nShip onnxruntime: 2.00x [" in text
    assert "peak RSS" not in text
    assert any(row.startswith("z") and row.rstrip().endswith("failed") for row in text.splitlines())


@LAW
@given(st.text(max_size=60))
def test_no_error_message_breaks_a_table(message):
    rows = main_table(markdown_text([result(), failed(message=message)]))
    assert [10] * 4 == [len(row) for row in rows]
    assert terminal_text([result(), failed(message=message)])
    assert case_line(failed(message=message)).startswith("failed     build: ")


def test_flipped_rows_break_no_table():
    flip = Flip(row=3, label="a|b", reference="a", own="b", text="| <b> `x` |")
    several = [result(), result("onnxruntime", 2.0, answers=answers(lost=1, flips=(flip,)))]
    assert {10} == {len(row) for row in cells(markdown_text(several))}


@LAW
@given(st.integers(1, 10**12))
def test_times_are_never_rounded_above_their_unit(ns):
    whole = result("onnxruntime", series=(series(rounds=1, launches=1, own_ns=((ns,),)),))
    shown = float(cells(markdown_text([whole]))[2][2].replace(",", ""))
    assert pytest.approx(ns / 1e6, rel=0.006) == shown


# Sentences


def test_broken_and_missing_gates_are_shown():
    low = result("onnxruntime", 2.0, answers=answers(score=0.5))
    assert "breaks its gate: score 0.5000 on 1000 rows is below min_score=0.9" in markdown_text([result(), low])
    assert "reference, gate not evaluated" in markdown_text([result(gate=None)])


def test_too_few_launches_are_named():
    text = markdown_text([result("onnxruntime", series=(series(2.0, rounds=2, launches=1),))])
    assert "2.00× [too few launches or rounds]" in text
    assert "[too few launches or rounds] over 2 rounds in 1 launch." in text


def test_reasons_follow_unless_a_case_ships():
    several = [result(), result("onnxruntime", 2.0), result("onnxruntime-int8", 0.5)]
    bullets = [text for text in markdown_text(several).splitlines() if text.startswith("- ")]
    assert f"- onnxruntime-int8 (slower): {verdict(several[2]).reasons[0]}." == bullets[0]
    assert [] == [text for text in bullets if text.startswith("- onnxruntime (")]


def test_pareto_optimal_backends_are_named():
    several = [result(), result("onnxruntime", 2.0), result("onnxruntime-int8", 1.5)]
    assert "- Pareto-optimal in speed, drop and memory: onnxruntime." in markdown_text(several)


def test_disturbances_are_named_once():
    heavy = Disturbance(
        load_before=2.0, load_after=2.0, foreign_share=0.4, steal_share=None, pressure_share=None, throttled=None,
        mhz_before=None, mhz_after=None, parent_cpu_share=None, switches={},
    )  # fmt: skip
    several = [result(disturbance=heavy), result("onnxruntime", 2.0, disturbance=heavy)]
    for text in (markdown_text(several), terminal_text(several)):
        assert 1 == text.count("other processes used 40% of the CPU")


def test_seeds_are_compared_with_backends():
    scores = (0.95, 0.93, 0.5)
    seeds = tuple(
        Seed(seed=seed, score=score, majority_score=0.5, majority_label="a") for seed, score in enumerate(scores)
    )
    several = [result(seeds=seeds), result("onnxruntime", 2.0, answers=answers(lost=3), seeds=seeds)]
    spread = (
        "Fine-tuned with 2 of 3 seeds, the reference scores 0.9300 to 0.9500: a range of 2.00 points (standard "
        "deviation 1.41); backends differ from it by at most 0.30 points."
    )
    collapsed = "Fine-tuning with seed 2 collapsed: score 0.5000 is no more than the 0.5000 of always answering 'a'."
    for text in (markdown_text(several), terminal_text(several)):
        assert spread in text
        assert collapsed in text


def test_single_seed_is_named_only_if_collapsed():
    seed = Seed(seed=0, score=0.95, majority_score=0.5, majority_label="a")
    assert "Fine-tun" not in markdown_text([result(seeds=(seed,))])
    collapsed = markdown_text([result(seeds=(replace(seed, only_label="b"),))])
    assert "Fine-tuning with seed 0 collapsed: score 0.9500, and every answer is 'b'." in collapsed


def test_further_metrics_are_listed():
    group = [
        result(answers=answers(other_scores={"mrr": 0.91, "top-5": 0.99})),
        result("onnxruntime", answers=answers(other_scores={"mrr": 0.9})),
    ]
    for text in (markdown_text(group), terminal_text(group)):
        assert "mrr: pytorch 0.9100, onnxruntime 0.9000." in text
        assert "top-5: pytorch 0.9900." in text


def test_generated_tokens_have_a_column_only_where_text_is_generated():
    assert "tokens/s" in markdown_text([result(answers=answers(tokens=(1,) * 1000))])
    assert "tokens/s" not in markdown_text([result()])


def test_parting_tokens_are_shown_of_all_but_the_reference():
    written = answers(tokens=(5,) * 1000, parted=(2, 5, 4))
    text = markdown_text([result(answers=replace(written, parted=())), result("onnxruntime", 2.0, answers=written)])
    assert "rows whose tokens part" in text
    assert "0.3 %, at token 4" in text
    assert "0 %, at" not in markdown_text([result(answers=replace(written, parted=()))])


def test_layers_kept_in_float_are_named_with_their_cost():
    plain = result("onnxruntime-int8", 3.0)
    kept = {"float_layers": "first, second", "guards": "onnxruntime-int8"}
    guarded = result("onnxruntime-int8-guarded", 2.0, artifact=replace(plain.artifact, info=kept))
    pattern = r"onnxruntime-int8-guarded keeps layers in float: first, second; at batch 1 it is (.*) as fast as (.*)\."
    for text in (markdown_text([result(), plain, guarded]), terminal_text([result(), plain, guarded])):
        (match,) = re.findall(pattern, text)
        ratio, low, high = map(float, re.findall(r"\d\.\d+", match[0]))
        assert low <= ratio <= high
        assert ratio == pytest.approx(2 / 3, abs=0.01)
        assert "onnxruntime-int8" == match[1]
    many = replace(guarded, artifact=replace(plain.artifact, info={"float_layers": "a, b, c, d, e"}))
    assert "keeps layers in float: a, b, c and 2 more." in terminal_text([result(), many])


def test_exporter_is_named_with_why_it_was_not_optimum():
    plain = result("onnxruntime", 2.0)
    by_optimum, other = {"exporter": "optimum-onnx 0.1.0"}, {"exporter": "OnnxExporter, transformers 5.24.0"}
    made = replace(plain, artifact=replace(plain.artifact, info=by_optimum))
    text = markdown_text([result(), made])
    assert "- The graph of onnxruntime was exported by optimum-onnx 0.1.0." in text
    info = other | {"not_built_by": "Optimum exports no model of the type ernie"}
    fallback = replace(plain, artifact=replace(plain.artifact, info=info))
    because = "transformers 5.24.0, because Optimum exports no model of the type ernie."
    assert f"- The graph of onnxruntime was exported by OnnxExporter, {because}" in markdown_text([result(), fallback])
    assert because in terminal_text([result(), fallback], [])


@pytest.mark.parametrize(
    ("case", "line"),
    [
        (result(), "reference  1.00 ms, score 0.9500"),
        (result("a", 2.0), "ship       ≥ 2.00×, 0.500 ms, drop 0.00 (≤ 0.30)"),
        (result("a", 0.5), "slower     ≤ 0.50×, 2.00 ms, drop 0.00 (≤ 0.30)"),
        (result("a", series=(series(1.1, noise=0.5),)), "undecided  0.88 to 1.24×, 0.895 ms, drop 0.00 (≤ 0.30)"),
        (result("a", series=(series(2.0, launches=1),)), "undecided  unproven, 0.500 ms, drop 0.00 (≤ 0.30)"),
        (result("a", 2.0, answers=answers(lost=60)), "worse      ≥ 2.00×, 0.500 ms, drop 6.00 (≥ 4.79)"),
        (result("a", series=()), "invalid    not timed, drop 0.00 (≤ 0.30)"),
        (failed(message="out of memory\n  in load"), "failed     build: out of memory"),
        (unsupported(), "unsupported  build: Optimum exports no such head"),
    ],
    ids=["reference", "ship", "slower", "undecided", "few", "worse", "not timed", "failed", "unsupported"],
)
def test_line_of_a_case_says_what_is_proven(case, line):
    assert line == case_line(case)
    assert len(line) <= 56
