"""Models in GGUF: converted once to a folder as `save_pretrained` writes it, with weights in float32."""

from __future__ import annotations

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness.contracts.vetting import offline
from harness.errors import HarnessError, brief_error
from harness.util.console import quiet
from harness.util.machine import missing_module

SUFFIX = ".gguf"


def convert(file: Path, sha256: str) -> Path:
    """Return the folder that a file with this hash converts to, which the Hub's library keeps among its assets."""
    from huggingface_hub import cached_assets_path
    from transformers import __version__

    folder = cached_assets_path("shipbench", "gguf", f"{sha256}-{__version__}")
    if (folder / "config.json").is_file():
        return folder
    if problem := missing_module("gguf", "gguf"):
        raise HarnessError(f"{file} is in GGUF: {problem}")
    with TemporaryDirectory(dir=folder.parent) as scratch, quiet():
        try:
            _save(file, Path(scratch) / "model")
        except Exception as error:  # Transformers raises errors of many kinds
            raise HarnessError(
                f"{file}: Transformers reads no model from it: {brief_error(error)}; give the folder of the model from "
                "which it was made"
            ) from error
        if not (folder / "config.json").is_file():  # of another session
            shutil.rmtree(folder)
            (Path(scratch) / "model").replace(folder)
    return folder


@offline()
def _save(file: Path, out: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    source: dict[str, Any] = {"gguf_file": file.name, "trust_remote_code": False}
    AutoTokenizer.from_pretrained(file.parent, **source).save_pretrained(out)
    whole = GgufConfig(dequantize=True)
    model = AutoModelForCausalLM.from_pretrained(file.parent, **source, dtype="float32", quantization_config=whole)
    model.save_pretrained(out)
