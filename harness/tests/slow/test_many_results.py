"""Thousands of results: tables in bounded memory, with the same rows as from a few; and merged, each exactly once."""

import subprocess
import sys

import factory
import numpy as np
import pandas as pd

from harness.commands.cli import main
from harness.results.store import load_all, result_path, save
from harness.verdicts.table import COLUMNS, COSTS, tidy

MODELS = 2_500
FACTORS = {"pytorch": None, "onnxruntime": 1.5, "onnxruntime-o2": 1.6, "onnxruntime-int8": 3.0}
ALLOWED_MB = 500
REPORT = """
import sys
from harness.__main__ import main
from harness.measure.worker import peak_rss_bytes
code = main(["report", "--ship-results", sys.argv[1]])
print(peak_rss_bytes() // 2**20)
sys.exit(code)
"""


def results_of(number):
    """Yield four backends at two batch sizes, no two with the same rounds, so that caches do not help."""
    for at, (backend, factor) in enumerate(FACTORS.items()):
        seeds = (8 * number + at, 8 * number + at + 4)
        series = tuple(
            factory.series(factor, batch, noise=0.02, rounds=15, seed=seed)
            for batch, seed in zip((1, 16), seeds, strict=True)
        )
        yield factory.result(backend, factor, model=f"model-{number}", series=series)


def test_ten_thousand_results_need_half_a_gigabyte(tmp_path):
    for number in range(MODELS):
        for result in results_of(number):
            save(tmp_path, result)
    run = subprocess.run([sys.executable, "-c", REPORT, tmp_path], capture_output=True, text=True, check=True)
    assert int(run.stdout.split()[-1]) < ALLOWED_MB
    table = pd.read_csv(tmp_path / "comparison.csv")
    assert (2 * MODELS * len(FACTORS), len(COLUMNS) - len(COSTS)) == table.shape
    alone = tidy(one for one in load_all(tmp_path) if one.model == "model-7")
    own = table[table["model"] == "model-7"]
    for column in ("speedup", "speedup_low", "speedup_high", "noise"):
        np.testing.assert_allclose(own[column], alone[column], rtol=1e-5)


def test_ten_thousand_results_are_merged(tmp_path, capsys):
    samples = list(results_of(0))
    for number in range(MODELS):
        job = tmp_path / f"job-{number % 8}"
        for sample in samples:
            name = f"model-{number}"
            path = result_path(job, factory.result(sample.backend, model=name))
            if number == 0:
                save(tmp_path / "first", sample)
            path.parent.mkdir(parents=True, exist_ok=True)
            raw = result_path(tmp_path / "first", sample).read_bytes()
            path.write_bytes(raw.replace(b'"model-0"', f'"{name}"'.encode()))
    command = ["merge", *(str(tmp_path / f"job-{job}") for job in range(8)), "--into", str(tmp_path / "all")]
    for expected in (
        "10000 results and finals of toy-machine added, 0",
        "0 results and finals of toy-machine added, 10",
    ):
        assert 0 == main(command)
        assert expected in capsys.readouterr().out
    models = [result.model for result in load_all(tmp_path / "all")]
    assert sorted(f"model-{number}" for number in range(MODELS) for _ in samples) == sorted(models)
