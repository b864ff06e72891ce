"""The suite in the documents that trains an adapter, from rows to verdicts and to what is published."""

import pytest
from test_documented_kinds import FLOAT, write
from users import readme_example

from conftest import Once, Run, Toy

pytest_plugins = "pytester"
pytest.importorskip("peft")


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    def make(toy: Toy) -> Run:
        write(toy.folder)
        suite = readme_example('"""Delays', "suites/README.md")
        # Weights that were never trained need larger steps.
        (toy.folder / "test_toy.py").write_text(
            suite.replace("epochs=3, learning_rate=5e-4", "epochs=6, learning_rate=1e-2")
        )
        return toy.run("-v", "-m", "not cuda", "--ship-budget=8")

    return once("documented-adapters", make)


def test_merged_adapter_is_exported_and_reaches_verdicts(ran):
    toy, run = ran
    assert 0 == run.status, run.text
    results = {result.backend: result for result in toy.results.values()}
    assert {*FLOAT, "onnxruntime-int8"} <= set(results)
    assert {"ok"} == {result.status for result in results.values()}
    scores = [results[backend].answers.score for backend in FLOAT]
    assert 0.9 < min(scores)
    assert max(scores) - min(scores) < 1e-3
    assert any("the adapter is merged" in note for note in results["onnxruntime"].notes)


def test_adapter_is_published_beside_the_merged_model(ran):
    toy, _ = ran
    words = ("publish", "delays/adapted.onnxruntime.cpu", "--to", "out", "--anyway", "--ship-artifacts")
    done = toy.command("harness", *words, str(toy.artifacts))
    assert 0 == done.status, done.text
    published = toy.folder / "out"
    assert {"adapter_config.json", "adapter_model.safetensors"} == {
        path.name for path in (published / "adapter").iterdir()
    }
    assert (published / "model.safetensors").is_file()
    assert str(toy.folder) not in (published / "adapter" / "adapter_config.json").read_text()
