"""A small hub with a model and a dataset, and a fixture that points `huggingface_hub` to it."""

import io
from collections.abc import Iterator
from pathlib import Path

import hubserver
import pandas as pd
import pytest

from harness.data import hub

COMMIT, OTHER = "a" * 40, "b" * 40
CONFIGS = ("ax", "cola", "mnli", "mrpc", "qnli", "qqp", "rte", "sst2", "stsb", "wnli")
"""As GLUE's card lists them: each with its files, its labels, and a default that is another than the one tested."""
INFO = """- config_name: {0}
  features:
  - name: text
    dtype: string
  - name: label
    dtype:
      class_label:
        names:
          '0': not_{0}
          '1': {0}
"""
FILES = """- config_name: {0}
  data_files:
  - split: train
    path: {0}/train-*
  - split: test
    path: {0}/test-*
"""
CARD = "---\ndataset_info:\n" + "".join(map(INFO.format, CONFIGS)) + "configs:\n"
CARD += "".join(FILES.format(name) + "  default: true\n" * (name == "cola") for name in CONFIGS) + "---\n"


def parquet(count: int) -> bytes:
    out = io.BytesIO()
    pd.DataFrame({"text": [f"row {n}" for n in range(count)], "label": [0, 1] * (count // 2)}).to_parquet(out)
    return out.getvalue()


MODEL = {
    "README.md": b"a model",
    "config.json": b"{}",
    "model.safetensors": bytes(range(256)) * 40,
    "pytorch_model.bin": b"a pickle",
    "tokenizer.json": b"{}",
    "onnx/model.onnx": b"a graph",
}
DATASET = {
    "README.md": CARD.encode(),
    "stats.csv": b"a,b\n1,2\n",
    "mrpc/notes.json": b"{}",
    "mrpc/train-00000-of-00001.parquet": parquet(20),
    "mrpc/test-00000-of-00001.parquet": parquet(10),
    "cola/train-00000-of-00001.parquet": parquet(8),
    "cola/test-00000-of-00001.parquet": parquet(6),
}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[hubserver.Server]:
    with hubserver.hub() as server:
        home = str(tmp_path / "home")
        for name, value in {"HF_ENDPOINT": server.endpoint, "HF_HOME": home}.items():
            monkeypatch.setenv(name, value)
        # The library has read its environment by now.
        template = f"{server.endpoint}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        constants = {"ENDPOINT": server.endpoint, "HF_HOME": home, "HF_HUB_CACHE": f"{home}/hub"}
        for name, constant in (constants | {"HF_HUB_DISABLE_XET": True, "HF_HUB_OFFLINE": False}).items():
            monkeypatch.setattr(f"huggingface_hub.constants.{name}", constant)
        for name in ("HF_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
            monkeypatch.delenv(name, raising=False)
        server.put("model", "toys/bert", COMMIT, MODEL)
        server.put("dataset", "toys/glue", COMMIT, DATASET)
        hub.attempt.cache_clear()
        yield server
