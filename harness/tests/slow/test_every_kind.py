"""Kinds that no embedded weights exist for, on tiny models, all the way: trained, exported, measured, judged."""

import pandas as pd
import pytest
import tiny_kinds

from conftest import Once, Run, Toy

pytest_plugins = "pytester"

FLOAT = ("pytorch", "onnxruntime", "onnxruntime-o2")


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    def make(toy: Toy) -> Run:
        toy.copy("kinds.py")
        tiny_kinds.write(toy.folder)
        return toy.run("-v", "-p", "no:randomly", "-m", "not cuda", "--ship-budget=8", timeout_s=900)

    return once("kinds", make)


@pytest.mark.parametrize("task", ["longest-word", "gaps", "translated", "summed-up"])
def test_kind_is_measured_from_rows_to_verdicts(ran, task):
    toy, run = ran
    assert 0 == run.status, run.text
    found = {result.backend: result for result in toy.results.values() if result.task == task}
    assert {*FLOAT, "onnxruntime-int8", "onnxruntime-o2-int8"} == set(found)
    assert {"ok"} == {result.status for result in found.values()}
    scores = {found[backend].answers.score for backend in FLOAT}
    assert max(scores) - min(scores) < 0.01
    assert all(result.answers.drop_bounds or task == "gaps" for result in found.values())


def test_generated_text_has_tokens_per_second(ran):
    toy, _ = ran
    table = pd.read_csv(toy.folder / "results" / "local" / "comparison.csv").groupby("task")["tokens_per_s"]
    assert {"gaps": 0, "longest-word": 0, "summed-up": 10, "translated": 10} == table.count().to_dict()
    assert table.min().dropna().gt(0).all()


def test_model_learns_its_kind_a_little(ran):
    toy, _ = ran
    for task, least in {"longest-word": 0.3, "gaps": 0.02, "translated": 0.4, "summed-up": 0.4}.items():
        assert least < toy.results[f"{task}/tiny.pytorch.cpu"].answers.score, task


def test_further_metrics_are_in_the_summary(ran):
    _, run = ran
    for metric in ("exact-match", "top-1", "chrf"):
        assert f"\n{metric}: pytorch " in run.text


def test_text_generated_from_own_rows_is_not_quoted(ran):
    toy, _ = ran
    flips = [(result.task, flip) for result in toy.results.values() for flip in result.answers.flips]
    assert flips
    for task, flip in flips:
        assert (flip.own != "") == (task in ("gaps", "summed-up"))
    folder = toy.folder / "results" / "local"
    table = pd.read_parquet(folder / "translated" / "tiny.onnxruntime.cpu.parquet")
    assert ["row", "prediction", "reference"] == table.columns.tolist()
    assert {"right", "wrong"} >= set(table["prediction"])
    assert "sequences" in pd.read_parquet(folder / "summed-up" / "tiny.onnxruntime.cpu.parquet")
