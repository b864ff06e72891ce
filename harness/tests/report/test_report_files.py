"""Files made from results: which are written for which machine, and which are stale."""

from io import BytesIO

import numpy as np
import pandas as pd
import pytest
from factory import elsewhere, failed, result

from harness.commands.cli import main
from harness.errors import HarnessError
from harness.report import files
from harness.results import store
from harness.verdicts.table import tidy


def save(folder, *several):
    for one in several:
        store.save(folder, one)
    return folder


def test_every_machine_has_tables_and_committed_ones_share_a_pair(tmp_path):
    local = elsewhere(machine="local")
    save(tmp_path, result(), result("onnxruntime", environment=elsewhere(machine="other")), result(environment=local))
    expected = [
        tmp_path / folder / name
        for folder in ("local", "other", "toy-machine", "")
        for name in ("comparison.csv", "comparison.md")
    ]
    assert expected == files.write_tables(tmp_path)
    assert all(path.is_file() for path in expected)
    shared = (tmp_path / "comparison.md").read_text()
    assert "machine toy-machine" in shared
    assert "machine other" in shared
    assert "machine local" not in shared


@pytest.mark.parametrize(
    ("machine", "expected"),
    [
        ("local", ["local/comparison.csv", "local/comparison.md"]),
        ("other", ["comparison.csv", "comparison.md", "other/comparison.csv", "other/comparison.md"]),
    ],
)
def test_run_writes_the_tables_that_contain_its_machine(tmp_path, machine, expected):
    save(tmp_path, result(), result(environment=elsewhere(machine=machine)))
    assert expected == sorted(str(path.relative_to(tmp_path)) for path in files.write_tables(tmp_path, machine))


def test_csv_is_the_tidy_table(tmp_path):
    several = [result(), result("onnxruntime", 2.0), failed("onnxruntime-int8")]
    files.write_tables(save(tmp_path, *several))
    table = pd.read_csv(BytesIO((tmp_path / "comparison.csv").read_bytes()))
    expected = tidy(several)
    assert list(expected.columns) == list(table.columns)
    for column in ("backend", "status", "recommended", "pareto", "verdict", "reasons"):
        assert expected[column].fillna("").tolist() == table[column].fillna("").tolist()
    for column in ("median_ms", "speedup", "speedup_low", "drop_high", "score"):
        np.testing.assert_allclose(expected[column].astype(float), table[column], rtol=1e-5)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda folder: (folder / "comparison.md").write_text("better numbers"),
        lambda folder: (folder / "comparison.md").unlink(),
        lambda folder: save(folder, result("onnxruntime", 2.0)),
        lambda folder: next(folder.glob("*/*/*.json")).unlink(),
    ],
    ids=["edited", "missing", "outdated", "left over"],
)
def test_stale_tables_are_named(tmp_path, spoil):
    files.write_tables(save(tmp_path, result()))
    files.check_tables(tmp_path)
    spoil(tmp_path)
    with pytest.raises(files.Stale, match=r"/comparison\.md.*: differs from the results; run .* report and commit"):
        files.check_tables(tmp_path)


def test_missing_and_empty_folders(tmp_path):
    message = "none: no such results folder; run a suite with pytest first, or name it with --ship-results"
    for make in (files.write_tables, files.check_tables):
        with pytest.raises(HarnessError, match=message):
            make(tmp_path / "none")
    assert [] == files.write_tables(tmp_path)
    files.check_tables(tmp_path)


def test_command_without_results_fails(tmp_path, capsys):
    assert 4 == main(["report", "--ship-results", str(tmp_path)])
    assert "holds no results; run a suite with pytest first" in capsys.readouterr().err


def test_damaged_result_is_an_error(tmp_path):
    save(tmp_path, result())
    (tmp_path / "toy-machine/toy-task/broken.json").write_text("{")
    with pytest.raises(HarnessError, match=r"broken\.json: unreadable"):
        files.write_tables(tmp_path)


def test_hostile_file_names_stay_inert(tmp_path, capsys):
    hostile = tmp_path / "toy" / "\x1b[2J\n::error::x.json"
    hostile.parent.mkdir()
    hostile.write_text("{")
    assert 4 == main(["report", "--ship-results", str(tmp_path)])
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert not [line for line in err.splitlines() if line.strip().startswith("::")]


def test_summary_reads_local_results_where_no_machine_is_named(tmp_path, capsys):
    save(tmp_path, result(environment=elsewhere(machine="local")))
    assert 0 == main(["report", "--short", "--ship-results", str(tmp_path)])
    assert "toy-task / toy-model | cpu, local" in capsys.readouterr().out
    save(tmp_path, result())
    assert 0 == main(["report", "--short", "--ship-results", str(tmp_path)])
    assert "cpu, local" not in capsys.readouterr().out


def test_clean_removes_what_the_last_run_did_not_write(tmp_path, capsys):
    local = elsewhere(machine="local")
    kept = [result(environment=local), result("onnxruntime", environment=local)]
    earlier = {"measurement": "ba9876543210", "created": "2025-12-31T00:00:00+00:00"}
    stale = result("onnxruntime-int8", environment=local, **earlier)
    save(tmp_path, *kept, stale)
    files.write_tables(tmp_path, "local")
    path = store.result_path(tmp_path, stale)
    store.answers_path(path).touch()
    assert 0 == main(["clean", "--ship-results", str(tmp_path)])
    assert f"{path}, of 2025-12-31T00:00:00+00:00\n1 of 3 results" in capsys.readouterr().out
    assert path.exists()
    assert 0 == main(["clean", "--ship-results", str(tmp_path), "-k", "pytorch", "--yes"])
    assert path.exists()
    assert 0 == main(["clean", "--ship-results", str(tmp_path), "--yes"])
    assert sorted(store.result_path(tmp_path, one) for one in kept) == sorted(tmp_path.rglob("toy*.json"))
    assert not store.answers_path(path).exists()
    assert "onnxruntime-int8" not in (tmp_path / "local/comparison.csv").read_text()
