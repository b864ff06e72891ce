"""The suite in the documents that trains an adapter, from rows to verdicts and to what is published."""

import pytest
from documented import documented_suite, published, run_suites
from test_documented_kinds import FLOAT, write

from conftest import Once, Run, Toy

pytest_plugins = "pytester"
pytest.importorskip("peft")


@pytest.fixture
def ran(once: Once) -> tuple[Toy, Run]:
    # Weights that were never trained need larger steps.
    changes = {"epochs=3, learning_rate=5e-4": "epochs=6, learning_rate=1e-2"}
    return run_suites(once, "adapters", write, {"test_toy.py": documented_suite("Delays", changes)})


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
    folder = published(toy, "delays/adapted.onnxruntime.cpu")
    assert {"adapter_config.json", "adapter_model.safetensors"} == {
        path.name for path in (folder / "adapter").iterdir()
    }
    assert (folder / "model.safetensors").is_file()
    assert str(toy.folder) not in (folder / "adapter" / "adapter_config.json").read_text()
