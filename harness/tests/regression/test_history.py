# the expectation stands on the left
"""History over git: each measurement once, in order, split where environments differ."""

import re
import subprocess
from dataclasses import replace
from pathlib import Path

import factory
import pandas as pd
import pytest
from html_reader import Reader
from runs import HERE, drawn, run, series

from harness.commands.cli import main
from harness.errors import HarnessError
from harness.regression.history import Commit, History, Segment, committed, key_of, point_of, read
from harness.report import history
from harness.report.charts import inline
from harness.results.schema import SCHEMA, Failure
from harness.results.store import result_path, save

CASE = "toy/bag.numpy.cpu"
HOSTILE = "<img src=x onerror=alert(1)>\x1b[2J"
NEWER = replace(HERE, packages=HERE.packages | {"torch": "2.14"})


class Repository:
    """Results committed day by day."""

    def __init__(self, folder):
        self.top, self.results = folder, folder / "results"
        self.results.mkdir(parents=True)
        self.git("init", "--quiet")

    def git(self, *words):
        who = ("-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "commit.gpgsign=false")
        done = subprocess.run(["git", *who, *words], cwd=self.top, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    def commit(self, *runs):
        """Save these results and commit everything; return the commit's id."""
        for result in runs:
            save(self.results, result)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "results")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


def case_of(results):
    (case,) = History(points=[point_of(result) for result in results]).cases
    return case


# --- reading


def test_measurements_are_read_once_in_their_order(repository):
    first = repository.commit(run(2))
    repository.commit(run(0), run(0, backend="other"))  # measured before, committed later
    repository.commit()
    again = repository.commit(run(2))  # the same file as before
    past = read(repository.results)
    assert {("run-0", "numpy"), ("run-0", "other"), ("run-2", "numpy")} == {
        (point.result.measurement, point.result.backend) for point in past.points
    }
    assert sorted(point.result.created for point in past.points) == [point.result.created for point in past.points]
    assert first == past.commits["run-2", "toy-machine", CASE].id != again


def test_rewritten_measurement_keeps_its_first_commit(repository):
    first = repository.commit(run(0))
    repository.commit(run(0, answers=factory.answers(lost=40)))
    past = read(repository.results)
    (point,) = past.points
    assert 0.91 == pytest.approx(point.score)
    assert first == past.commits[key_of(point.result)].id


def test_deleted_and_merged_results_are_read(repository):
    repository.commit(run(0))
    home = repository.git("branch", "--show-current")
    repository.git("checkout", "--quiet", "-b", "side")
    side = repository.commit(run(1))
    repository.git("checkout", "--quiet", home)
    repository.commit(run(2, backend="other"))
    repository.git("merge", "--quiet", "--no-edit", "side")
    result_path(repository.results, run(1)).unlink()
    repository.commit()
    past = read(repository.results)
    assert {"run-0", "run-1", "run-2"} == {point.result.measurement for point in past.points}
    assert side == past.commits["run-1", "toy-machine", CASE].id


def test_unreadable_files_are_noted_and_finals_skipped(repository):
    path = result_path(repository.results, run(0))
    path.parent.mkdir(parents=True)
    for content in ('{"schema": 1}', '{"schema": 1, "other": 2}', "{", f'{{"schema": {SCHEMA}}}'):
        path.write_text(content)
        repository.commit()
    assert 0 == main(["history", "--ship-results", str(repository.results)])
    (path.parent / "finals.cpu.json").write_text("{}")
    repository.commit(run(0))
    past = read(repository.results)
    assert 1 == len(past.points)
    assert 1 == sum(f" and 1 more: unreadable: schema 1, this version reads {SCHEMA};" in note for note in past.notes)
    assert 3 == sum(": unreadable: " in note for note in past.notes)


def test_words_select_cases_by_name(repository):
    repository.commit(run(0), run(0, backend="other"), run(0, model="big"))
    assert [CASE] == [point.result.name for point in read(repository.results, "BAG and numpy").points]
    with pytest.raises(HarnessError, match="no result whose name contains nothing in any commit"):
        read(repository.results, "nothing")


@pytest.mark.parametrize("expression", ["bag or big", "not bag", "(bag)"])
def test_other_expressions_are_refused(expression, capsys):
    assert 4 == main(["history", "-k", expression])
    assert "only words joined by and are allowed" in capsys.readouterr().err


def test_only_committed_files_with_any_name_are_listed(tmp_path):
    repository = Repository(tmp_path / "wéird näme")
    repository.commit(run(0))
    (repository.results / "tab\there.json").write_text("{}")
    repository.commit()
    save(repository.results, run(1, backend="later"))
    assert ["toy-machine/toy/bag.numpy.cpu.json", "tab\there.json"] == [f.path for f in committed(repository.results)]


def test_shallow_clone_is_noted(repository, tmp_path):
    for number in range(3):
        repository.commit(run(number))
    repository.git("clone", "--quiet", "--depth", "1", repository.top.as_uri(), str(tmp_path / "clone"))
    past = read(tmp_path / "clone" / "results")
    assert ["run-2"] == [point.result.measurement for point in past.points]
    assert "git fetch --unshallow" in past.notes[-1]


def test_folders_without_history_are_refused(tmp_path, capsys):
    (tmp_path / "plain").mkdir()
    repository = Repository(tmp_path / "empty")
    for folder, message in (
        (tmp_path / "none", "No such file or directory"),
        (
            tmp_path / "plain",
            "git cannot read the history; give a folder inside a repository: fatal: not a",
        ),
        (repository.results, "does not have any commits yet"),
    ):
        assert 4 == main(["history", "--ship-results", str(folder)])
        assert message in capsys.readouterr().err
    repository.commit()
    assert 4 == main(["history", "--ship-results", str(repository.results)])
    assert "no results in any commit" in capsys.readouterr().err


# --- cases


def test_change_of_environment_begins_a_segment():
    case = case_of([*drawn(2.0, 12, seed=1), *drawn(1.5, 12, seed=2, first=20), run(40, here=NEWER)])
    assert [("", 24), ("package torch 2.13 before, 2.14 after", 1)] == [
        (cause, len(points)) for cause, points in case.segments
    ]


def test_other_worker_packages_and_row_lengths_start_segments():
    old, new = (
        run(at, process=factory.process(settings={"packages": f"numpy 2.4, onnxruntime {release}"}))
        for at, release in enumerate(("1.23", "1.31"))
    )
    assert "package onnxruntime where it runs 1.23 before, 1.31 after" == case_of([old, new]).segments[1].cause
    longer = case_of([run(0), run(1, series=(series(length=16),))])
    assert "length of the batch that begins with test row 0: 8 before, 16 after" == longer.segments[1].cause


def test_runs_without_a_valid_speedup_are_explained(repository):
    repository.commit(run(0))
    repository.commit(run(1, status="failed", error=Failure(stage="build", message="x"), series=()))
    repository.commit(run(2, series=(series(control=1.2),)))
    repository.commit(run(3, series=()))
    past = read(repository.results)
    (case,) = past.cases
    assert [1] == [len(segment.points) for segment in case.segments]
    text = "\n".join(history.sentences(past, case))
    for reason in ("failed at build", "the reference differs from itself", "no speed was measured"):
        assert f"1 of 4 runs without a speed-up: {reason}" in text


def test_runs_judged_at_another_batch_begin_a_segment():
    case = case_of([run(0), run(1, series=(series(batch=16),))])
    assert [1, 1] == [len(segment.points) for segment in case.segments]
    assert re.search(r"workload .*batch=1\b.* before, .*batch=16\b.* after", case.segments[1].cause)


def test_each_machine_has_its_own_cases():
    points = [point_of(run(0)), point_of(run(1, here=replace(HERE, machine="another")))]
    assert [("another", CASE), ("toy-machine", CASE)] == [(c.machine, c.case) for c in History(points=points).cases]


def test_reference_has_a_score_and_no_segments():
    case = case_of([run(n, backend="pytorch") for n in range(2)])
    assert ((), 2) == (tuple(case.segments), len(case.points))
    assert ["", ""] == [point.why for point in case.points]


# --- table, page and parquet


@pytest.fixture(scope="module")
def grown(tmp_path_factory):
    """A repository of three cases over 23 runs, the last three of which are of another environment."""
    repository = Repository(tmp_path_factory.mktemp("grown"))
    for number, one in enumerate([*drawn(2.0, 20, seed=1, noise=0.01), *drawn(2.6, 3, seed=3, first=20, here=NEWER)]):
        shared = {"measurement": one.measurement, "created": one.created, "here": one.environment}
        repository.commit(one, run(number, backend="pytorch", **shared), run(number, (1.0,), model="big", **shared))
    return repository


def test_table_shows_first_and_last_run_and_environments(grown, capsys):
    assert 0 == main(["history", "--ship-results", str(grown.results)])
    out = capsys.readouterr().out
    (row,) = [line for line in out.splitlines() if line.startswith(f"{CASE}  ")]
    _, runs, first, *_, environments = row.split()
    assert ("23", "2") == (runs, environments)
    assert first[:3] in ("1.9", "2.0")
    assert " 2.6" in row or " 2.5" in row
    (change,) = [line for line in out.splitlines() if line.startswith(f"{CASE}: not comparable")]
    assert "package torch 2.13 before, 2.14 after, since the run of 2026-01-01" in change
    assert read(grown.results).commits["run-20", "toy-machine", CASE].id[:10] in change


def test_page_has_a_described_picture_of_each_case(grown, tmp_path):
    path = tmp_path / "history.html"
    assert 0 == main(["history", "--ship-results", str(grown.results), "--html", str(path)])
    page = Reader(path.read_text())
    assert [] == page.open
    labels = [attributes["aria-label"] for attributes in page.all("svg")]
    assert 3 == len(labels) == len([row for row in page.all("tr") if "data-task" in row])
    assert 2 == sum("after 1 change of environment " in label for label in labels)
    for _, attributes in page.found:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))


def test_hostile_text_stays_inert():
    here = replace(HERE, cpu=HOSTILE)
    broken = run(2, status="failed", error=Failure(stage=HOSTILE, message=HOSTILE), series=())
    runs = [run(0), run(1, here=here), broken]
    commits = {key_of(result): Commit("0" * 40, "2026-01-01T00:00:00+00:00") for result in runs}
    past = History(points=[point_of(result) for result in runs], commits=commits, notes=[HOSTILE])
    page = Reader(history.page(past, Path(HOSTILE)))
    assert [] == page.all("img")
    assert 1 == len(page.all("script"))
    assert "\x1b" not in history.text(past)


def test_long_history_is_drawn_as_a_band():
    short = case_of([run(number, (2.0 + 0.001 * number,)) for number in range(3)])
    points = [point._replace() for point in [*short.points] * 100]
    figure, text = history.plot_case(short._replace(points=points, segments=[Segment("", points)]))
    assert "300 runs" in text
    assert len(inline(figure, text, "x")) < 100_000


def test_parquet_has_every_run_with_its_first_commit(grown, tmp_path):
    path = tmp_path / "all.parquet"
    assert 0 == main(["history", "--ship-results", str(grown.results), "--parquet", str(path)])
    table = pd.read_parquet(path)
    assert 3 * 23 == len(table.drop_duplicates(["measurement", "task", "model", "backend", "device"]))
    assert table["created"].is_monotonic_increasing
    row = table[(table["measurement"] == "run-5") & (table["model"] == "bag") & (table["backend"] == "numpy")].iloc[0]
    assert read(grown.results).commits["run-5", "toy-machine", CASE].id == row["first_commit"]
    assert 2.0 == pytest.approx(row["speedup"], rel=0.05)


def test_tables_of_different_days_share_column_types(repository, tmp_path):
    types = []
    for number, result in enumerate((factory.failed(), factory.result("onnxruntime", 1.5, measurement="b"))):
        repository.commit(result)
        path = tmp_path / f"{number}.parquet"
        main(["history", "--ship-results", str(repository.results), "--parquet", str(path)])
        types.append(pd.read_parquet(path).dtypes.astype(str).to_dict())
    assert types[0] == types[1]
    assert "object" not in types[0].values()
