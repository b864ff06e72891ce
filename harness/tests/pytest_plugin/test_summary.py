"""The end of a run on the terminal: a line per comparison, what is red or undecided, files; with -v and -q."""

import re
import shutil
from argparse import Namespace
from dataclasses import replace

import pytest
from factory import answers, comparison, elsewhere, failed, process, result, series

from harness.pytest_plugin.machine import Machine
from harness.pytest_plugin.session import ShipSession
from harness.pytest_plugin.summary import summary
from harness.report.documents import summary_table
from harness.results import store
from harness.results.schema import Finalist, Finals, LabelRows
from harness.util.console import Progress

VERDICTS = """\
comparison               ship         speed-up     ms    drop
other/toy-model on cuda  nothing
toy-task/toy-model       onnxruntime   ≥ 1.50×  0.667  ≤ 0.63
toy-task finals: small   numpy         ≥ 2.00×  0.500  ≤ 0.30
""".splitlines()
LAST = "1 of 2 comparisons may ship a faster backend; of 6 cases, 3 failed"


def finalist(model, factor=None):
    return Finalist(
        model=model, backend="numpy", score=0.95, correct="1" * 1000, drop_bounds=None, size_bytes=1, process=process(),
        series=(series(factor, noise=0),), error=None,
    )  # fmt: skip


@pytest.fixture
def ship(tmp_path, monkeypatch):
    """A session with two comparisons, one of which fails, and finals."""
    monkeypatch.chdir(tmp_path)
    options = Namespace(
        ship_results=tmp_path / "results", ship_machine="local", ship_no_page=False, ship_track=None, ship_require=None
    )
    ship = ShipSession(options, tmp_path, Progress())
    several = [
        *comparison(notes=("batch 1: 240 rounds",), environment=elsewhere(machine="local")),
        *(
            failed(name, device="cuda", task="other", environment=elsewhere(machine="local"))
            for name in ("pytorch", "numpy")
        ),
    ]
    results = {one.name: one for one in several if one.status != "unsupported"}
    ship.machines["local"] = Machine("local", ship, {}, results)
    for one in ship.results:
        store.save(ship.results_folder, one)
    ship.machines["local"].finals = [
        Finals(
            task="toy-task", device="cpu", measurement="0123456789ab", fingerprint="", created="2026-01-01", notes=(),
            environment=elsewhere(), metric="accuracy", test_sha256="11", max_drop=0.01, absent={}, disturbance=None,
            entries=(finalist("large"), finalist("small", 2.0)),
        )
    ]  # fmt: skip
    return ship


def lines(ship, verbosity=0):
    return "\n".join(summary(ship, verbosity)).split("\n")


def test_summary_has_a_line_per_comparison_then_reasons_files_and_the_run(ship):
    assert [
        *VERDICTS,
        "",
        "other/toy-model on cuda: nothing ships: no measured backend passes its gate",
        "other/toy-model.pytorch.cuda failed at build: out of memory",
        "other/toy-model.numpy.cuda failed at build: out of memory",
        "toy-task/toy-model.broken.cpu failed at build: no such operator",
        "1 note on rows, builds and rounds: run with -v, or see report.html",
        "wrote comparison.csv, comparison.md, report.html to results/local",
        LAST,
    ] == lines(ship)


def test_quiet_summary_has_only_verdicts(ship):
    assert [*VERDICTS, "", LAST] == lines(ship, -1)
    assert (ship.results_folder / "local" / "report.html").is_file()


def test_verbose_summary_has_tables_reasons_and_notes(ship):
    text = "\n".join(lines(ship, 1))
    assert re.search(r"^onnxruntime \*  +1\.50× \[1\.50, 1\.50\] .* ship$", text, re.MULTILINE)
    for part in ("\nShip onnxruntime: ", "\nShip small on numpy: ", "\nThe reference against itself, batch 16: "):
        assert part in text
    assert "toy-task/toy-model: batch 1: 240 rounds" in text.splitlines()
    assert LAST == text.splitlines()[-1]


def test_reports_that_cannot_be_written_are_named_even_if_quiet(ship):
    shutil.rmtree(ship.results_folder)
    for verbosity in (-1, 0, 1):
        text = "\n".join(lines(ship, verbosity))
        assert "\nno tables: " in text
        assert "\nno page: " in text


def test_undecided_cases_with_one_remedy_share_a_warning(ship):
    loud = [result(name, 2.0, series=(series(2.0, control=1.2),)) for name in ("a", "b")]
    ship.machines["local"].results = {one.name: one for one in (result(), *loud)}
    names = [f"toy-task/toy-model.{name}.cpu is invalid" for name in "ab"]
    (warning,) = [line for line in lines(ship) if line.startswith("warning: ")]
    assert f"warning: {names[0]}, {names[1]}: run again on a quieter machine" == warning
    assert [] == [line for line in lines(ship, -1) if line.startswith("warning: ")]
    warnings = [line for line in lines(ship, 1) if line.startswith("warning: ")]
    assert all("speed is not valid" in warning for warning in warnings)


def test_status_has_its_warnings_even_if_quiet(ship):
    ship.machines["local"].results = {one.name: one for one in (result(), result("one", 2.0, answers=answers(lost=8)))}
    ship.status = 8
    assert 1 == len([line for line in lines(ship, -1) if line.startswith("warning: ")])


def test_case_that_breaks_its_gate_is_named_with_its_first_problem(ship):
    ship.machines["local"].results = {
        one.name: one for one in (result(), result("bad", 2.0, answers=answers(lost=100)))
    }
    first = "score 0.8500 on 1000 rows is below min_score=0.9 (reference: 0.9500)"
    assert f"toy-task/toy-model.bad.cpu breaks its gate: {first}" in lines(ship)


def test_slower_batches_of_the_recommended_backend_are_named(ship):
    slow = result("fast", series=(series(2.0, noise=0), series(0.5, batch=16, noise=0)))
    ship.machines["local"].results = {one.name: one for one in (result(), slow)}
    (line,) = [line for line in lines(ship) if line.startswith("toy-task/toy-model: ")]
    assert line.endswith("; but slower than the reference, 0.50x [0.50, 0.50] at batch 16")


def test_failed_model_of_the_finals_is_named(ship):
    held = ship.finals[0]
    ship.machines["local"].finals = [
        replace(held, entries=(*held.entries, replace(held.entries[0], model="huge", error="killed")))
    ]
    assert "finals of toy-task: huge on numpy failed: killed" in lines(ship)


def test_summary_of_many_comparisons_fits_eighty_columns(ship):
    names = ("headline-retrieval", "bbc-news", "digits")
    several = [replace(one, task=task, model="all-MiniLM-L6-v2") for task in names for one in comparison()]
    table = summary_table([several[:4], several[5:9], several[10:14]])
    assert 4 == len(table.splitlines())
    assert max(map(len, table.splitlines())) <= 80


def test_label_that_a_backend_never_answers_is_named_once(ship):
    fault = LabelRows(label="fault", rows=10, correct=10, lost=10, gained=0, answered=0, reference_answered=10)
    blind = result("blind", 2.0, answers=replace(answers(), labels=(fault,)))
    ship.machines["local"].results = {one.name: one for one in (result(), blind)}
    assert 1 == sum("blind never answers 'fault' (10 test rows)" in line for line in lines(ship))
    assert 1 == sum("few test rows for 'fault' (10 test rows)" in line for line in lines(ship))


def test_every_machine_has_a_table_and_the_choice_is_made_over_all(ship):
    ship.options.ship_machine = "c7i,m7a,g6"
    ship.machines.clear()
    for machine, factor in (("c7i", 2.0), ("m7a", 3.0)):
        several = [replace(r, environment=elsewhere(machine=machine)) for r in (result(), result("fast", factor))]
        ship.machines[machine] = Machine(machine, ship, {}, {one.name: one for one in several})
        for one in several:
            store.save(ship.results_folder, one)
    ship.machines["g6"] = Machine("g6", ship, {})
    (ship.results_folder / "prices.toml").write_text("c7i = 1\nm7a = 9\n")
    text = lines(ship)
    heads = [text.index(line) for line in ("machine c7i", "machine m7a", "machine g6: nothing was measured")]
    assert heads == sorted(heads)
    assert ["fast", "fast"] == [text[at + 2].split()[1] for at in heads[:2]]
    (choice,) = [line for line in text if line.startswith("toy-task / toy-model on c7i and m7a: ")]
    assert "At batch 1, ship fast on c7i: " in choice
    assert "2 of 2 comparisons may ship a faster backend" == text[-1]
    assert {"g6/nothing was measured: every case was skipped": False} == ship.open_cases()


def test_prices_that_make_no_sense_are_named(ship):
    (ship.results_folder / "prices.toml").write_text("c7i = -1\n")
    assert any(line.startswith("no costs: ") and "prices.toml: unknown machine 'c7i'" in line for line in lines(ship))
