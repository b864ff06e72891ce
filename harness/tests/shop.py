"""A case as if it had been measured, and the checkpoint and graphs that it was measured with; none of them runs."""

from dataclasses import replace
from pathlib import Path

import factory

from harness.results.schema import Built
from harness.results.store import load, save
from harness.util.store import Store

CASE = "toy-task/toy-model.onnxruntime.cpu"
SLOWER_CASE = "toy-task/toy-model.onnxruntime-o2.cpu"
REFERENCE_CASE = "toy-task/toy-model.pytorch.cpu"
FILES = {
    "checkpoint": {
        "config.json": '{"architectures": ["ToyForSequenceClassification"], "id2label": {"0": "a", "1": "b"}}',
        "model.safetensors": "weights",
        "tokenizer.json": "{}",
        "example.safetensors": "two rows of somebody's",
    },
    "onnxruntime": {"config.json": "of another", "model.onnx": "a graph", "tokenizer.json": "{}"},
    "onnxruntime-o2": {"config.json": "{}", "model.onnx": "a worse graph", "tokenizer.json": "{}"},
    "npz": {"weights.npz": "numbers"},
}
RECIPE = {"max_length": 64, "source": {"type": "Package", "distribution": "toy-weights", "path": "bert", "sha256": "0"}}


def options(folder: Path) -> list[str]:
    return ["--ship-results", str(folder / "results"), "--ship-artifacts", str(folder / "artifacts")]


def stock(folder: Path, only_slower: bool = False, **changed) -> Path:
    """Results and what they were measured with, in `folder`; `changed` in every result."""
    store = Store(folder / "artifacts", print)
    made = {name: _build(store, name, files) for name, files in FILES.items()}
    known = {"recipe": RECIPE, "checkpoint": made["checkpoint"]} | changed
    save(folder / "results", factory.result(artifact=made["checkpoint"], **known))
    for name, factor in (("onnxruntime", 2.0), ("onnxruntime-o2", 0.5), ("npz", 0.5)):
        if not (only_slower and factor > 1):
            save(folder / "results", factory.result(name, factor, artifact=made[name], **known))
    return folder


def change(folder: Path, case: str = CASE, machine: str = "toy-machine", **changed) -> None:
    """Save the case's result anew, with this changed."""
    known = load(folder / "results" / "toy-machine" / f"{case}.json")
    save(folder / "results", replace(known, environment=factory.elsewhere(machine=machine), **changed))


def _build(store: Store, name: str, files: dict[str, str | bytes]) -> Built:
    def build(out: Path) -> dict[str, object]:
        for file, content in files.items():
            (out / file).write_bytes(content if isinstance(content, bytes) else content.encode())
        return {"made": name}

    key = f"{len(name):012x}"
    entry = store.get(f"toy-task/toy-model/{name}", key, build)
    return Built(key=key, size_bytes=1, seconds=1.0, info=entry.info)
