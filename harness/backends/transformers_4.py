"""Checkpoints as Transformers 4.57 reads them, the last release that Optimum admits: settings under earlier names."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from harness import checkpoint
from harness.errors import Unsupported

MODEL_FILES = (checkpoint.WEIGHTS, "generation_config.json")
"""Files that a model is read from, besides its config.json."""
ROTARY = "rope_parameters"
"""Settings of rotary positions since Transformers 5. Earlier ones drop them, and rotate by other angles."""
BASES_OF_LAYERS = {"modernbert": {"full_attention": "global_rope_theta", "sliding_attention": "local_rope_theta"}}
"""Model type → for each sort of layers the earlier name of the base of its angles."""


@contextmanager
def readable_by_4(source: Path) -> Iterator[Path]:
    """Yield a checkpoint's model as Transformers 4.57 reads it; Unsupported for settings that it cannot express.

    Without the tokenizer: Optimum would read it and write its own form of it beside the graph.
    """
    config = checkpoint.read_json(source / "config.json")
    with TemporaryDirectory() as folder:
        for name in MODEL_FILES:
            if (source / name).exists():
                (Path(folder) / name).symlink_to((source / name).absolute())
        (Path(folder) / "config.json").write_text(json.dumps(earlier(config)))
        yield Path(folder)


def earlier(config: dict[str, Any]) -> dict[str, Any]:
    """Return the contents of a config.json under earlier names; Unsupported for settings that had none."""
    config = {name: earlier(value) if _is_config(value) else value for name, value in config.items()}
    rotary = config.pop(ROTARY, None)
    return config if rotary is None else config | _earlier_rotary(config["model_type"], rotary)


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and "model_type" in value


def _earlier_rotary(model_type: str, rotary: dict[str, Any]) -> dict[str, Any]:
    if names := BASES_OF_LAYERS.get(model_type):
        kinds = {settings.get("rope_type", "default") for settings in rotary.values()}
        if rotary.keys() == names.keys() and kinds == {"default"}:
            return {names[layers]: settings["rope_theta"] for layers, settings in rotary.items()}
    elif "rope_theta" in rotary:
        scaling = {name: value for name, value in rotary.items() if name not in ("rope_theta", "partial_rotary_factor")}
        settings = {name: rotary[name] for name in ("rope_theta", "partial_rotary_factor") if name in rotary}
        return settings | {"rope_scaling": None if scaling.get("rope_type", "default") == "default" else scaling}
    raise Unsupported(f"Transformers 4.57, which Optimum needs, cannot express {model_type}'s {ROTARY}: {rotary}")


def write_tokenizer_class(folder: Path) -> None:
    """Name the class of a tokenizer, and its further special tokens, as both 4.57 and 5 read them."""
    file = folder / "tokenizer_config.json"
    declared = json.loads(file.read_text("utf-8"))
    if declared.get("tokenizer_class") == "TokenizersBackend":
        declared["tokenizer_class"] = "PreTrainedTokenizerFast"
    if isinstance(further := declared.get("extra_special_tokens"), list):
        declared |= {"extra_special_tokens": {}, "additional_special_tokens": further}
    file.write_text(json.dumps(declared, indent=2, ensure_ascii=False), encoding="utf-8")
