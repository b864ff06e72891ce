"""Backends of a suite's own: numpy in place of a runtime."""

from pathlib import Path

import numpy as np

from harness.contracts.backend import Backend, Session, Target
from harness.contracts.kind import Arrays


def load(artifact: Path, target: Target) -> Session:
    from safetensors.numpy import load_file

    weights = load_file(artifact / "model.safetensors")

    def run(arrays: Arrays) -> Arrays:
        mask = arrays["attention_mask"].astype(np.float32)[:, :, None]
        mean = (weights["embedding.weight"][arrays["input_ids"]] * mask).sum(axis=1) / mask.sum(axis=1)
        return {"logits": mean @ weights["classifier.weight"].T + weights["classifier.bias"]}

    return Session(run=run, device=target.device, settings={"numpy": np.__version__})


NUMPY = Backend(name="numpy", load=load, devices=("cpu",))
