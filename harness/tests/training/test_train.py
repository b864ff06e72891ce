"""Fine-tuning: both loops mean the same by a recipe, and its seed decides everything."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from harness import checkpoint
from harness.contracts.sources import Package, Scratch
from harness.data import splits
from harness.errors import HarnessError
from harness.kinds import image_classification
from harness.spec import Model, Recipe, Task
from harness.training.train import Workspace, fine_tune, processor_notes
from harness.util.console import Progress
from harness.util.store import Store


def scans(file: Path) -> Iterator[dict[str, Any]]:
    for line in np.loadtxt(file, delimiter=",", dtype=np.int64):
        yield {"image": (line[:64].reshape(8, 8) * 255 // 16).astype(np.uint8), "digit": str(line[64])}


TASK = Task(
    name="digits",
    kind=image_classification,
    dataset=Package(
        "scikit-learn",
        "sklearn/datasets/data/digits.csv.gz",
        sha256="09f66e6debdee2cd2b5ae59e0d6abbb73fc2b0e0185d2e1957e9ebb51e23aa22",
        read=scans,
    ),
    inputs=("image",),
    label="digit",
    metric="accuracy",
    test=100,
    validation=400,
    calibration=100,
)
VIT = Model(
    name="tiny-ViT",
    source=Scratch(
        config={
            "model_type": "vit",
            "hidden_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "intermediate_size": 64,
            "image_size": 8,
            "patch_size": 2,
            "num_channels": 1,
        },
        processor={
            "image_processor_type": "ViTImageProcessor",
            "do_resize": False,
            "image_mean": [0.5],
            "image_std": [0.5],
        },
    ),
    recipe=Recipe(epochs=12, learning_rate=5e-3, batch_size=32),
)
LOOPS = pytest.mark.parametrize("loop", ["trainer", "native"])
WHOLE = {"rows": 64, "batch_size": 64, "epochs": 4}
"""One batch per epoch holds all rows, so that their order, which differs between the loops, does not matter."""
SPOILT = {"epochs": 6, "rows": 200, "learning_rate": 3e-2, "warmup": 0.0}
"""A learning rate that may make later epochs worse than earlier ones."""


def train(out: Path, **changes: Any) -> dict[str, Any]:
    """Train with these changes to the recipe."""
    out.mkdir(exist_ok=True)
    model = replace(VIT, recipe=replace(VIT.recipe, **changes))
    workspace = Workspace(folder=out, store=Store(out.parent, print), content="digits", threads=1, progress=Progress())
    return fine_tune(TASK, model, splits.load(TASK, Path()), workspace, out)


def weights(folder: Path) -> NDArray[np.float32]:
    """Return all of a checkpoint's weights as one array."""
    tensors = load_file(folder / "model.safetensors")
    return np.concatenate([tensors[name].ravel() for name in sorted(tensors)])


@pytest.mark.parametrize(
    "changes",
    [{}, {"warmup": 0.5}, {"warmup": 0.0}, {"learning_rate": 1e-2}, {"weight_decay": 1.0}],
    ids=lambda changes: ", ".join(f"{name}={value}" for name, value in changes.items()) or "as it is",
)
def test_recipe_means_the_same_in_both_loops(changes: dict[str, float], tmp_path: Path) -> None:
    trained = {loop: train(tmp_path / loop, loop=loop, **WHOLE, **changes) for loop in ("trainer", "native")}
    assert trained["trainer"]["validation"] == trained["native"]["validation"]
    train(tmp_path / "start", loop="native", **WHOLE | {"epochs": 1}, learning_rate=1e-12)
    start, one, other = (weights(tmp_path / name) for name in ("start", "trainer", "native"))
    moved = np.abs(one - start).max()
    assert 0 < moved
    assert np.abs(one - other).max() < moved / 100


@LOOPS
def test_seed_decides_the_weights(loop: str, tmp_path: Path) -> None:
    few = {"loop": loop, "rows": 96, "epochs": 2}
    first, second, other = (train(tmp_path / str(seed), seed=seed // 10, **few) for seed in (10, 11, 20))
    assert first["weights_sha256"] == second["weights_sha256"]
    assert first["weights_sha256"] != other["weights_sha256"]
    assert first["validation"] == second["validation"]


def test_checkpoint_that_another_processor_trained_is_noted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    info = train(tmp_path, loop="native", rows=96, epochs=1)
    assert [] == processor_notes(info) == processor_notes({})
    monkeypatch.setattr("harness.training.train.processor_name", lambda device: f"another {device}")
    assert [f"the checkpoint was trained on {info['trained_on']}"] == processor_notes(info)


@LOOPS
def test_best_epoch_on_validation_rows_is_kept(loop: str, tmp_path: Path) -> None:
    for seed in range(12):  # rounding differs by processor, and so does the seed that ends worse
        info = train(tmp_path / str(seed), loop=loop, seed=seed, **SPOILT)
        assert 6 == len(info["validation"])
        assert max(info["validation"]) == accuracy(tmp_path / str(seed))
        if info["validation"][-1] < max(info["validation"]):
            return
    pytest.fail("with every seed the last epoch was the best")


@LOOPS
def test_last_epoch_is_kept_on_request(loop: str, tmp_path: Path) -> None:
    best = train(tmp_path / "best", loop=loop, **SPOILT)
    last = train(tmp_path / "last", loop=loop, **SPOILT, keep="last")
    assert best["validation"][-1] == accuracy(tmp_path / "last")
    assert [] == last["validation"]


@LOOPS
def test_a_single_epoch_is_not_scored(loop: str, tmp_path: Path) -> None:
    assert [] == train(tmp_path, loop=loop, epochs=1, rows=64)["validation"]


def accuracy(checkpoint_folder: Path) -> float:
    """Return the share of validation rows that a checkpoint predicts correctly."""
    rows = splits.load(TASK, Path()).validation
    processor = TASK.kind.load_processor(checkpoint_folder)
    encoded = TASK.kind.encode(processor, list(rows), TASK.inputs, 0)
    pixels = torch.from_numpy(TASK.kind.collate(processor, [example for (example,) in encoded])["pixel_values"])
    with torch.inference_mode():
        predictions = checkpoint.load(checkpoint_folder)(pixel_values=pixels).logits.argmax(-1).numpy()
    return float((predictions == np.array(rows["label"])).mean())


@LOOPS
def test_diverging_training_names_the_step_and_a_remedy(loop: str, tmp_path: Path) -> None:
    message = (
        r"digits/tiny-ViT: training diverged: the loss is nan at step [2-9] of 24; lower the learning rate \(1e\+30\)"
    )
    with pytest.raises(HarnessError, match=message):
        train(tmp_path, loop=loop, rows=64, batch_size=32, learning_rate=1e30)


@LOOPS
def test_rows_steps_and_threads_are_recorded(loop: str, tmp_path: Path) -> None:
    info = train(tmp_path, loop=loop, rows=50, batch_size=16, epochs=2)
    assert (50, 8, 1) == (info["rows"], info["steps"], info["threads"])
    assert 2 == len(info["validation"])


@LOOPS
def test_bf16_training_keeps_fp32_weights(loop: str, tmp_path: Path) -> None:
    for precision in ("fp32", "bf16"):
        train(tmp_path / precision, loop=loop, precision=precision, **WHOLE)
    assert np.float32 == weights(tmp_path / "bf16").dtype
    assert not np.array_equal(weights(tmp_path / "fp32"), weights(tmp_path / "bf16"))


@LOOPS
def test_bf16_training_leaves_the_next_unchanged(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ACCELERATE_MIXED_PRECISION", raising=False)  # which Transformers sets for bf16
    before, _, after = (
        train(tmp_path / str(number), loop=loop, precision=precision, **WHOLE)
        for number, precision in enumerate(("fp32", "bf16", "fp32"))
    )
    assert before["weights_sha256"] == after["weights_sha256"]


def test_trainer_arguments_pass_through_the_recipe(tmp_path: Path) -> None:
    train(tmp_path / "adamw", **WHOLE)
    train(tmp_path / "sgd", **WHOLE, trainer={"optim": "sgd"})
    assert not np.array_equal(weights(tmp_path / "adamw"), weights(tmp_path / "sgd"))


def test_training_leaves_only_the_checkpoint(tmp_path: Path) -> None:
    train(tmp_path, **WHOLE)
    expected = {"config.json", "example.safetensors", "model.safetensors", "preprocessor_config.json"}
    assert expected == {path.name for path in tmp_path.iterdir()}
