"""Models in GGUF, as Transformers reads them."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def is_one(path: Path) -> bool:
    """Return whether the path is a file in GGUF."""
    return path.suffix == ".gguf"


def save(file: Path, out: Path) -> None:
    """Write the model in `file` to the folder `out`, in float32."""
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    AutoTokenizer.from_pretrained(file.parent, **source).save_pretrained(out)
    whole = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(file.parent, **source, dtype="float32", quantization_config=whole)
    model.save_pretrained(out)
