"""Merging: results of jobs and machines together, contradictions refused, and nothing lost."""

from dataclasses import replace
from pathlib import Path

import factory
import pytest

from harness.commands import merge
from harness.commands.cli import main
from harness.results import store
from harness.results.schema import Finalist, Finals
from harness.util.files import HALF_WRITTEN

DEALT = (("a", "c"), ("b",), ())


def keep(folder: Path, *results):
    """Write results as their sessions do, with an answer each."""
    for result in results:
        store.save(folder, result)
        store.answers_path(store.result_path(folder, result)).write_bytes(result.name.encode())
    return folder


def finals(task="a", **changed):
    entry = Finalist(
        model="m", backend="pytorch", score=1.0, correct="1", size_bytes=1, process=None, series=(), error=None
    )
    known = Finals(
        task=task, device="cpu", measurement="m", created="2026-01-01", environment=factory.HERE, metric="accuracy",
        test_sha256="11", max_drop=0.01, entries=(entry,), absent={},
    )  # fmt: skip
    return replace(known, **changed)


def run(capsys, *words):
    """Run the command; return its status and everything it printed."""
    status = main(["merge", *map(str, words)])
    return status, "".join(capsys.readouterr())


def content(folder: Path):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.*") if path.is_file()}


def shard(folder: Path, *tasks, **changed):
    return keep(folder, *(factory.result(task=task, shards=DEALT, **changed) for task in tasks))


def test_shards_become_one_folder_of_results(tmp_path, capsys):
    first, second = shard(tmp_path / "jobs/1", "a", "c"), shard(tmp_path / "jobs/2", "b")
    store.save_finals(first, finals())
    log = store.result_path(second, factory.result(task="b")).with_suffix(".log")
    log.write_text("what went wrong")
    status, text = run(capsys, tmp_path / "jobs", "--into", tmp_path / "all")
    assert 0 == status
    assert f"{tmp_path / 'all'}: 4 results and finals of toy-machine added, 0 were there\n" in text
    assert {**content(first), **content(second)} == content(tmp_path / "all")


def test_results_of_several_machines_lie_side_by_side(tmp_path, capsys):
    other = factory.elsewhere(machine="other", cpu="slide rule", commit="fedcba")
    one, two = keep(tmp_path / "1", factory.result()), keep(tmp_path / "2", factory.result(environment=other))
    # As GitHub packs them: without the machine's folder.
    (two / "other").rename(tmp_path / "artifact")
    assert 0 == run(capsys, one, tmp_path / "artifact", "--into", tmp_path / "all")[0]
    assert {"toy-machine", "other"} == {result.environment.machine for result in store.load_all(tmp_path / "all")}
    assert (tmp_path / "all/other/toy-task/toy-model.pytorch.cpu.parquet").exists()


def test_merging_again_adds_what_is_missing_and_changes_nothing(tmp_path, capsys):
    jobs = [shard(tmp_path / "1", "a", "c"), shard(tmp_path / "2", "b")]
    into = tmp_path / "all"
    assert 1 == run(capsys, jobs[0], "--into", into)[0]
    (path,) = into.rglob("a/*.json")
    before = path.stat().st_mtime_ns
    status, text = run(capsys, *jobs, "--into", into)
    assert (0, before) == (status, path.stat().st_mtime_ns)
    assert "1 results and finals of toy-machine added, 2 were there" in text


@pytest.mark.parametrize("there", [True, False], ids=["there", "in another job"])
def test_two_answers_to_one_case_are_refused(tmp_path, capsys, there):
    one = keep(tmp_path / ("all" if there else "1"), factory.result())
    later = factory.result(measurement="fedcba987654", created="2026-02-02T00:00:00+00:00")
    two, into = keep(tmp_path / "2", later), tmp_path / "all"
    before = content(tmp_path)
    status, text = run(capsys, *([] if there else [one]), two, "--into", into)
    assert (4, before) == (status, content(tmp_path))
    assert "are different results of one case on toy-machine, of 2026-01-01T00:00:00+00:00 and 2026-02-02T" in text
    assert str(store.result_path(one, later)) in text
    assert str(store.result_path(two, later)) in text


def test_same_result_with_other_answers_is_refused(tmp_path, capsys):
    one, two = keep(tmp_path / "1", factory.result()), keep(tmp_path / "2", factory.result())
    store.answers_path(store.result_path(two, factory.result())).write_bytes(b"other")
    assert 4 == run(capsys, one, two, "--into", tmp_path / "all")[0]


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"commit": "fedcba"}, "commit 0123456789abcdef in {1}, fedcba in {2}"),
        ({"dirty": True}, "dirty False in {1}, True in {2}"),
        ({"cpu": "slide rule", "cores": 4}, "cpu abacus in {1}, slide rule in {2}; cores 2 in {1}, 4 in {2}"),
        ({"packages": {"torch": "2.14", "onnx": "1.21"}},
         "package torch 2.13 in {1}, 2.14 in {2}; package onnx none in {1}, 1.21 in {2}"),
    ],
)  # fmt: skip
def test_jobs_that_differ_are_refused_field_by_field(tmp_path, capsys, changed, sentence):
    one = shard(tmp_path / "1", "a")
    two = shard(tmp_path / "2", "b", environment=factory.elsewhere(**changed))
    status, text = run(capsys, one, two, "--into", tmp_path / "all")
    assert 4 == status
    assert "are of one machine, toy-machine, and differ in " in text
    assert sentence.replace("{1}", f"{one}/toy-machine").replace("{2}", f"{two}/toy-machine") in text
    assert not (tmp_path / "all").exists()


def test_finals_of_another_commit_are_refused(tmp_path, capsys):
    one, two = shard(tmp_path / "1", "a"), tmp_path / "2"
    store.save_finals(two, finals("b", environment=factory.elsewhere(commit="fedcba")))
    assert "commit 0123456789abcdef in" in run(capsys, one, two, "--into", tmp_path / "all")[1]


def test_shards_of_other_runs_are_refused(tmp_path, capsys):
    one, two = shard(tmp_path / "1", "a"), keep(tmp_path / "2", factory.result(task="b", shards=(("a", "b", "c"),)))
    assert "shards: of 3 (a, c | b | ) in" in run(capsys, one, two, "--into", tmp_path / "all")[1]


def test_one_folder_is_taken_as_it_is(tmp_path, capsys):
    """A machine's committed results are of several commits where only some were measured again."""
    there = keep(tmp_path / "1", factory.result(task="a"), factory.result(task="b", environment=factory.elsewhere()))
    keep(there, factory.result(task="c", environment=factory.elsewhere(commit="fedcba")))
    assert 0 == run(capsys, there, "--into", tmp_path / "all")[0]


def test_missing_tasks_of_a_shard_are_named_and_fail(tmp_path, capsys):
    status, text = run(capsys, shard(tmp_path / "1", "a"), shard(tmp_path / "2", "b"), "--into", tmp_path / "all")
    assert 1 == status
    assert "missing: c on toy-machine, which shard 1/3 should have measured\n" in text
    assert 2 == len(list((tmp_path / "all").rglob("*.json")))


def pieces(tmp_path, **tasks):
    """Read shards of machines: machine → tasks."""
    for machine, own in tasks.items():
        shard(tmp_path / machine, *own, environment=factory.elsewhere(machine=machine))
    return merge.read(tmp_path)


@pytest.mark.parametrize(
    ("machines", "expected"),
    [
        # Every machine ran every shard
        ({"x": "abc", "y": "ac"}, ["b on y, which shard 2/3 should have measured"]),
        ({"x": "abc", "y": "abc"}, []),
        # Every shard has a machine's name of its own
        ({"x": "ac", "y": "b"}, []),
        ({"x": "ac"}, ["b on x, which shard 2/3 should have measured"]),
        ({"x": "a", "y": "b"}, ["c on x, y, which shard 1/3 should have measured"]),
    ],
    ids=str,
)
def test_missing_tasks_by_machine(tmp_path, machines, expected):
    assert expected == list(merge.missing(pieces(tmp_path, **machines)))


def test_task_of_an_earlier_session_is_not_missing(tmp_path):
    """A shard that resumed it did not write its result anew."""
    shard(tmp_path, "a", "c")
    keep(tmp_path, factory.result(task="b"))
    assert [] == list(merge.missing(merge.read(tmp_path)))


def test_bad_folders_are_refused(tmp_path, capsys):
    results = keep(tmp_path / "all/1", factory.result())
    empty = tmp_path / "empty"
    empty.mkdir()
    for folder, message in {
        tmp_path / "none": "none: no such folder; name those that hold the results of the jobs",
        empty: "empty: no results; name the folders that jobs wrote to",
        results: "all/1 lies in",
    }.items():
        status, text = run(capsys, folder, "--into", tmp_path / "all")
        assert (4, True) == (status, message in text)


def test_damaged_and_renamed_results_are_refused(tmp_path, capsys):
    path = store.result_path(keep(tmp_path / "1", factory.result()), factory.result())
    whole = path.read_bytes()
    path.write_bytes(whole[:-9])
    assert "unreadable" in run(capsys, tmp_path / "1", "--into", tmp_path / "all")[1]
    path.write_bytes(whole)
    path.rename(path.with_name("other.pytorch.cpu.json"))
    text = run(capsys, tmp_path / "1", "--into", tmp_path / "all")[1]
    assert "holds toy-task/toy-model.pytorch.cpu, under another name" in text
    assert not (tmp_path / "all").exists()


def test_killed_merge_is_finished_by_the_next(tmp_path, capsys, monkeypatch):
    jobs = shard(tmp_path / "jobs", "a", "b", "c")
    copied = []

    def write(path, raw):
        if len(copied) == 3:
            raise KeyboardInterrupt
        copied.append(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(raw)

    with monkeypatch.context() as patch:
        patch.setattr(merge, "write_atomically", write)
        patch.setattr(merge, "WRITERS", 1)
        with pytest.raises(KeyboardInterrupt):
            run(capsys, jobs, "--into", tmp_path / "all")
    assert 0 < len(content(tmp_path / "all")) < 6
    assert 0 == run(capsys, jobs, "--into", tmp_path / "all")[0]
    assert content(jobs) == content(tmp_path / "all")
    assert not [path for path in tmp_path.rglob(".*") if HALF_WRITTEN.fullmatch(path.name)]
