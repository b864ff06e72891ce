"""Leftovers of killed sessions are swept; files that a live process is writing or building stay."""

import fcntl

from filelock import FileLock

from harness.util.files import locked, sweep_results, sweep_store, write_atomically


def test_only_half_written_files_are_swept(tmp_path):
    kept = ["bag.json", ".gitignore", ".bag.json.backup", ".notes.txt.a1b2c3d4", "bag.parquet"]
    for name in [*kept, ".bag.json.a1b2c3d4", ".comparison.csv.________"]:
        (tmp_path / name).touch()
    swept = sweep_results(tmp_path)
    assert [".bag.json.a1b2c3d4", ".comparison.csv.________"] == sorted(path.name for path in swept)
    assert sorted(kept) == sorted(path.name for path in tmp_path.iterdir())


def test_file_of_a_live_writer_is_not_swept(tmp_path):
    with locked(tmp_path, fcntl.LOCK_SH):
        (tmp_path / ".bag.json.a1b2c3d4").touch()
        assert [] == sweep_results(tmp_path)
    assert [tmp_path / ".bag.json.a1b2c3d4"] == sweep_results(tmp_path)


def test_two_writers_may_share_a_folder(tmp_path):
    with locked(tmp_path, fcntl.LOCK_SH), locked(tmp_path, fcntl.LOCK_SH):
        write_atomically(tmp_path / "bag.json", b"{}")
    assert ["bag.json"] == [path.name for path in tmp_path.iterdir()]


def test_folder_that_cannot_be_locked_is_written_but_not_swept(tmp_path, monkeypatch):
    def refuse(handle, how):
        raise OSError("no locks on this file system")

    monkeypatch.setattr(fcntl, "flock", refuse)
    write_atomically(tmp_path / "bag.json", b"{}")
    (tmp_path / ".bag.json.a1b2c3d4").touch()
    assert [] == sweep_results(tmp_path)


def test_half_built_folder_and_idle_locks_are_swept(tmp_path):
    parent = tmp_path / "toy" / "bag"
    scratch = parent / ".checkpoint-0123456789ab.a1b2c3d4"
    for folder in (scratch / "part", parent / "checkpoint-0123456789ab", parent / ".checkpoint-x.a1b2c3d4"):
        folder.mkdir(parents=True)
    inner = parent / "checkpoint-0123456789ab" / "model-0123456789ab.lock"
    for file in (inner, parent / "checkpoint-0123456789ab.lock", parent / "poetry.lock"):
        file.touch()
    assert [scratch] == sweep_store(tmp_path)
    assert [".checkpoint-x.a1b2c3d4", "checkpoint-0123456789ab", "poetry.lock"] == sorted(
        path.name for path in parent.iterdir()
    )
    assert inner.exists()


def test_folder_of_a_live_builder_is_not_swept(tmp_path):
    scratch = tmp_path / ".checkpoint-0123456789ab.a1b2c3d4"
    scratch.mkdir()
    with FileLock(tmp_path / "checkpoint-0123456789ab.lock"):
        assert [] == sweep_store(tmp_path)
        assert (tmp_path / "checkpoint-0123456789ab.lock").exists()
    assert scratch.exists()
