"""Results over git: each measurement once, in its order, apart where environments differ, and told in full."""

import math
import subprocess
from dataclasses import replace
from pathlib import Path

import factory
import pandas as pd
import pytest
from runs import HERE, drawn, run, series
from test_page import Reader

from harness.commands.cli import main
from harness.errors import HarnessError
from harness.regression.history import Commit, History, committed, key_of, read, words_of
from harness.regression.trends import point, trends
from harness.report import history
from harness.report.charts import inline
from harness.report.history import course
from harness.results.schema import SCHEMA, Failure
from harness.results.store import path_of, save

CASE = "toy/bag.numpy.cpu"
NASTY = "<img src=x onerror=alert(1)>\x1b[2J"


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
        """Store these results, and all else that lies there; the commit's id."""
        for result in runs:
            save(self.results, result)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", "results")
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path):
    return Repository(tmp_path / "repository")


def trend(points):
    """Of runs of one case."""
    (found,) = trends([point(one) for one in points])
    return found


# --------------------------------------------------------------------------------------------------------- what is read


def test_every_measurement_is_one_point_in_the_order_in_which_they_were_made(repository):
    first = repository.commit(run(2))
    repository.commit(run(0), run(0, backend="other"))  # measured before, committed later
    repository.commit()
    again = repository.commit(run(2))  # the same file as once before
    found = read(repository.results)
    assert [("run-0", "numpy"), ("run-0", "other"), ("run-2", "numpy")] == sorted(
        (one.result.measurement, one.result.backend) for one in found.points
    )
    assert sorted(one.result.created for one in found.points) == [one.result.created for one in found.points]
    assert first == found.commit_of(found.points[-1]).id != again


def test_a_measurement_that_was_written_anew_counts_as_it_is_now_from_its_first_commit(repository):
    first = repository.commit(run(0))
    repository.commit(run(0, answers=factory.answers(lost=40)))
    (found,) = read(repository.results).points
    assert 0.91 == pytest.approx(found.score)
    assert first == read(repository.results).commit_of(found).id


def test_what_was_deleted_later_and_what_came_by_a_branch_is_there(repository):
    repository.commit(run(0))
    home = repository.git("branch", "--show-current")
    repository.git("checkout", "--quiet", "-b", "side")
    side = repository.commit(run(1))
    repository.git("checkout", "--quiet", home)
    repository.commit(run(2, backend="other"))
    repository.git("merge", "--quiet", "--no-edit", "side")
    path_of(repository.results, run(1)).unlink()
    repository.commit()
    found = read(repository.results)
    assert {"run-0", "run-1", "run-2"} == {one.result.measurement for one in found.points}
    assert side == found.commits["run-1", "toy-machine", CASE].id


def test_other_schemas_and_broken_files_are_counted_and_told_and_finals_are_no_case(repository):
    path = path_of(repository.results, run(0))
    path.parent.mkdir(parents=True)
    for content in ('{"schema": 1}', '{"schema": 1, "other": 2}', "{", f'{{"schema": {SCHEMA}}}'):
        path.write_text(content)
        repository.commit()
    (path.parent / "finals.cpu.json").write_text("{}")
    repository.commit(run(0))
    found = read(repository.results)
    assert 1 == len(found.points)
    assert f"2 files of schema 1, this version reads {SCHEMA}" in found.notes
    assert 2 == sum("not a result" in note for note in found.notes)


def test_words_select_cases_by_name(repository):
    repository.commit(run(0), run(0, backend="other"), run(0, model="big"))
    names = [one.result.name for one in read(repository.results, words_of("BAG and numpy")).points]
    assert [CASE] == names
    with pytest.raises(HarnessError, match="no result whose name holds nothing in any commit"):
        read(repository.results, ["nothing"])


@pytest.mark.parametrize("expression", ["bag or big", "not bag", "(bag)"])
def test_what_words_cannot_say_is_refused(expression, capsys):
    assert 4 == main(["history", "-k", expression])
    assert "history selects by words that a name holds" in capsys.readouterr().err


def test_a_file_that_is_not_committed_is_not_there(repository):
    repository.commit(run(0))
    save(repository.results, run(1))
    assert 1 == len(read(repository.results).points)


def test_names_of_folders_need_not_be_plain(tmp_path):
    repository = Repository(tmp_path / "wéird näme")
    repository.commit(run(0))
    (repository.results / "tab\there.json").write_text("{}")
    repository.commit()
    assert ["toy-machine/toy/bag.numpy.cpu.json", "tab\there.json"] == [f.path for f in committed(repository.results)]


def test_a_shallow_clone_says_what_it_lacks(repository, tmp_path):
    for number in range(3):
        repository.commit(run(number))
    repository.git("clone", "--quiet", "--depth", "1", repository.top.as_uri(), str(tmp_path / "clone"))
    found = read(tmp_path / "clone" / "results")
    assert ["run-2"] == [one.result.measurement for one in found.points]
    assert "git fetch --unshallow" in found.notes[-1]


def test_no_folder_no_repository_no_commit_and_no_result_are_sentences(tmp_path, capsys):
    (tmp_path / "plain").mkdir()
    repository = Repository(tmp_path / "empty")
    for folder, told in (
        (tmp_path / "none", "no such results folder"),
        (tmp_path / "plain", "history is read from git, which says: fatal: not a git repository"),
        (repository.results, "its repository has no commit yet"),
    ):
        assert 4 == main(["history", "--ship-results", str(folder)])
        assert told in capsys.readouterr().err
    repository.commit()
    assert 4 == main(["history", "--ship-results", str(repository.results)])
    assert "no results in any commit" in capsys.readouterr().err


# ------------------------------------------------------------------------------------------------------------ over time


def test_a_lasting_change_is_a_step_with_its_size_place_and_commit():
    found = trend([*drawn(2.0, 20, seed=1, noise=0.03), *drawn(1.6, 10, seed=2, noise=0.03, first=20)])
    (segment,) = found.segments
    (step,) = segment.steps
    assert 20 == step.at <= step.told <= 25
    assert step.change.low < math.log(0.8) < step.change.high
    assert [(0, 20), (20, 30)] == [(begin, end) for begin, end, _ in segment.levels]
    assert [2.0, 1.6] == pytest.approx([level for *_, level in segment.levels], rel=0.03)


def test_a_change_of_environment_begins_a_segment_and_is_no_step():
    newer = replace(HERE, packages=HERE.packages | {"torch": "2.14"})
    found = trend([*drawn(2.0, 12, seed=1), *drawn(1.5, 12, seed=2, first=20, here=newer)])
    assert [(12, ""), (12, "package torch 2.13 before, 2.14 after")] == [
        (len(s.points), s.began) for s in found.segments
    ]
    assert [[], []] == [segment.steps for segment in found.segments]


def test_other_packages_where_a_backend_runs_begin_a_segment_too():
    settings = [{"packages": f"numpy 2.4, onnxruntime {release}"} for release in ("1.23", "1.31")]
    found = trend([run(at, process=factory.process(settings=one)) for at, one in enumerate(settings)])
    assert "package onnxruntime where it runs 1.23 before, 1.31 after" == found.segments[1].began


def test_rows_of_another_length_begin_a_segment_too():
    found = trend([run(0), run(1, series=(series(length=16),))])
    assert "length of the batch that begins with test row 0: 8 before, 16 after" == found.segments[1].began


def test_runs_without_a_valid_speed_up_are_no_points_of_it_and_are_told(repository):
    broken = run(1, status="failed", error=Failure(stage="build", message="x"), series=())
    repository.commit(run(0))
    repository.commit(broken)
    repository.commit(run(2, series=(series(control=1.2),)))
    repository.commit(run(3, series=(series(batch=16),)))
    found = read(repository.results)
    (one,) = trends(found.points)
    assert [1] == [len(segment.points) for segment in one.segments]
    told = "\n".join(history.sentences(found, one))
    assert "1 of 4 runs without a speed-up: failed at build" in told
    assert "1 of 4 runs without a speed-up: the reference differs from itself" in told
    assert "1 of 4 runs without a speed-up: no speed was measured at batch 1" in told


def test_the_same_case_on_two_machines_is_two_trends():
    found = trends([point(run(0)), point(run(1, here=replace(HERE, machine="another")))])
    assert [("another", CASE), ("toy-machine", CASE)] == [(one.machine, one.case) for one in found]


# ---------------------------------------------------------------------------------------------- table, page and parquet


@pytest.fixture(scope="module")
def stepped(tmp_path_factory):
    """A repository in which one case of three has a step, and all change their environment."""
    repository = Repository(tmp_path_factory.mktemp("stepped"))
    newer = replace(HERE, packages=HERE.packages | {"torch": "2.14"})
    faster = [*drawn(2.0, 12, seed=1, noise=0.01), *drawn(2.6, 8, seed=2, noise=0.01, first=12)]
    for number, one in enumerate([*faster, *drawn(2.6, 3, seed=3, first=20, here=newer)]):
        known = {"measurement": one.measurement, "created": one.created, "here": one.environment}
        repository.commit(one, run(number, backend="pytorch", **known), run(number, (1.0,), model="big", **known))
    return repository


def test_the_table_tells_first_last_steps_and_commits(stepped, capsys):
    assert 0 == main(["history", "--ship-results", str(stepped.results)])
    said = capsys.readouterr().out
    (row,) = [line for line in said.splitlines() if line.startswith(f"{CASE}  ")]
    assert "23" == row.split()[1]
    assert "on 2026-01-01; 1 change of environment" in row
    (step,) = [line for line in said.splitlines() if line.startswith(f"{CASE}: step of +")]
    found = read(stepped.results)
    assert found.commits["run-12", "toy-machine", CASE].id[:10] in step
    assert "not comparable with before: package torch 2.13 before, 2.14 after, since the run of 2026-01-01" in said


def test_the_page_stands_alone_with_a_picture_a_case_and_words_for_it(stepped, tmp_path):
    path = tmp_path / "history.html"
    assert 0 == main(["history", "--ship-results", str(stepped.results), "--html", str(path)])
    read_page = Reader(path.read_text())
    assert [] == read_page.open
    told = [attributes["aria-label"] for attributes in read_page.all("svg")]
    assert 3 == len(told) == len([row for row in read_page.all("tr") if "data-task" in row])
    assert 1 == sum("a step of +" in one for one in told)
    assert f"{CASE}: step of +" in read_page.text[:400]
    for _, attributes in read_page.found:
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))


def test_what_others_wrote_does_nothing_on_page_and_terminal():
    here = replace(HERE, cpu=NASTY)
    runs = [run(0), run(1, here=here), run(2, status="failed", error=Failure(stage=NASTY, message=NASTY), series=())]
    found = trends([point(one) for one in runs])
    commits = {key_of(one): Commit("0" * 40, "2026-01-01T00:00:00+00:00") for one in runs}
    kept = History(points=[point(one) for one in runs], commits=commits, notes=[NASTY])
    read_page = Reader(history.page(kept, found, Path(NASTY)))
    assert [] == read_page.all("img")
    assert 1 == len(read_page.all("script"))
    assert "\x1b" not in history.text(kept, found)


def test_long_histories_are_drawn_with_a_band():
    found = trend([run(number, (2.0 + 0.001 * number,)) for number in range(3)])
    points = [replace(one) for one in [*found.points] * 100]
    many = replace(found, points=points, segments=[replace(found.segments[0], points=points)])
    figure, told = course(many)
    assert "300 runs" in told
    assert len(inline(figure, told, "x")) < 100_000


def test_the_parquet_holds_every_run_case_and_workload_with_its_first_commit(stepped, tmp_path):
    path = tmp_path / "all.parquet"
    assert 0 == main(["history", "--ship-results", str(stepped.results), "--parquet", str(path)])
    found = pd.read_parquet(path)
    assert 3 * 23 == len(found.drop_duplicates(["measurement", "task", "model", "backend", "device"]))
    assert found["created"].is_monotonic_increasing
    row = found[(found["measurement"] == "run-5") & (found["model"] == "bag") & (found["backend"] == "numpy")].iloc[0]
    assert read(stepped.results).commits["run-5", "toy-machine", CASE].id == row["first_commit"]
    assert 2.0 == pytest.approx(row["speedup"], rel=0.05)


def test_tables_of_different_days_have_one_schema(repository, tmp_path):
    kinds = []
    for number, result in enumerate((factory.failed(), factory.result("onnxruntime", 1.5, measurement="b"))):
        repository.commit(result)
        path = tmp_path / f"{number}.parquet"
        main(["history", "--ship-results", str(repository.results), "--parquet", str(path)])
        kinds.append(pd.read_parquet(path).dtypes.astype(str).to_dict())
    assert kinds[0] == kinds[1]
    assert "object" not in kinds[0].values()
