"""Low-rank adapters: added to a model before training, kept beside its weights, then merged into them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.declarations import unknown
from harness.contracts.sources import Hub, Local, Package
from harness.errors import HarnessError

if TYPE_CHECKING:
    from harness.contracts.sources import Source
    from harness.spec import Lora

FOLDER = "adapter"
"""Folder of the unmerged adapter, beside the merged weights of a checkpoint."""
ALL = "all-linear"
"""PEFT's name for every linear layer."""


def attach(owner: str, module: Any, lora: Lora) -> Any:
    """Add an adapter to a Transformers model in place and freeze the rest; return PEFT's handle of it.

    A new head is trained in full beside the adapter. HarnessError if a target names no layer.
    """
    import peft

    for problem in misfits(module, lora):
        raise HarnessError(f"{owner}: {problem}")
    heads = _heads(module)
    settings = peft.LoraConfig(
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or ALL,
        exclude_modules=rf"({'|'.join(heads)})(\..*)?" if heads else None,
        modules_to_save=heads or None,
    )
    return peft.get_peft_model(module, settings)


def misfits(module: Any, lora: Lora) -> Iterator[str]:
    """Yield a sentence for each target that names no layer of the model to which an adapter can be added."""
    layers = set(_layers(module))
    for target in lora.targets:
        if not any(f".{layer}".endswith(f".{target}") for layer in layers):
            yield f"Lora(targets=…): {unknown('layer', target, sorted({layer.rpartition('.')[2] for layer in layers}))}"


def merge(adapter: Any, source: Source, out: Path) -> str:
    """Write the adapter to FOLDER in `out` and merge it into its model's weights; return a note of its size."""
    import peft
    from safetensors.torch import save_file

    sizes = [(value.numel(), value.requires_grad) for value in adapter.parameters()]
    settings = adapter.peft_config["default"]
    settings.base_model_name_or_path, settings.revision = _base(source)
    settings.inference_mode = True
    (out / FOLDER).mkdir()
    state = peft.get_peft_model_state_dict(adapter, save_embedding_layers=False)
    weights = {name: value.cpu().contiguous() for name, value in state.items()}
    save_file(weights, out / FOLDER / "adapter_model.safetensors", metadata={"format": "pt"})
    settings.save_pretrained(out / FOLDER)
    adapter.merge_and_unload(safe_merge=True).requires_grad_(True)
    trained, every = sum(size for size, is_trained in sizes if is_trained), sum(size for size, _ in sizes)
    return f"LoRA trained {trained:,} of {every:,} parameters; the adapter is merged, and kept in {FOLDER}/"


def _layers(module: Any) -> Iterator[str]:
    """Yield the names of the layers that an adapter may change."""
    import torch
    from transformers.pytorch_utils import Conv1D

    output, heads = module.get_output_embeddings(), tuple(f"{head}." for head in _heads(module))
    for name, layer in module.named_modules():
        if isinstance(layer, torch.nn.Linear | Conv1D) and layer is not output and not f"{name}.".startswith(heads):
            yield name


def _heads(module: Any) -> list[str]:
    """Return the parts beside the body that are trained in full; the output of a language model is no such head."""
    body = module.base_model
    if body is module or module.get_output_embeddings() is not None:
        return []
    return [name for name, part in module.named_children() if part is not body and [*part.parameters()]]


def _base(source: Source) -> tuple[str, str | None]:
    """Return a base model's public name and revision: no path of this machine."""
    match source:
        case Hub():
            return source.repo, source.revision
        case Package():
            return source.distribution, None
        case Local():
            return Path(source.path).name, None
    raise HarnessError(f"{source}: adapters are for pretrained models: use a Package, a Hub or a Local")
