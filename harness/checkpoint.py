"""A fine-tuned model on disk, Transformers' or native: made, saved and loaded the same way.

Layout: `model.safetensors`, the processor's files, `example.safetensors` (a batch of two real rows, for exporters
that trace), and either `config.json` (Transformers) or `native.json` and `module.py` (native).
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts import Arrays, Kind
from harness.errors import HarnessError
from harness.loading import load_symbol
from harness.sources import Hub, Local, Native, Package, Scratch, Source
from harness.spec import Model

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
NATIVE = "native.json"
MODULE = "module.py"
EXAMPLE = "example.safetensors"


def create(
    source: Source, kind: Kind, folder: Path, pretrained: Path | None, labels: tuple[str, ...], processor: Any
) -> torch.nn.Module:
    """The model before training, with a new head for `labels`; `folder` is the suite's."""
    import transformers

    head = {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": _indices(labels)}
    auto = getattr(transformers, kind.auto_class)
    match source:
        case Native():
            path, name = source.locate(folder)
            return _native(path, name, kind.native_arguments(processor, len(labels)))
        case Scratch():
            settings = dict(source.config)
            return auto.from_config(  # type: ignore[no-any-return]
                transformers.AutoConfig.for_model(settings.pop("model_type"), **settings, **head)
            )
        case Package() | Hub() | Local():
            assert pretrained is not None
            return _with_new_head(auto, pretrained, labels, head)


def _with_new_head(auto: Any, pretrained: Path, labels: tuple[str, ...], head: dict[str, Any]) -> torch.nn.Module:
    """The pretrained body under a head for `labels`; one that it has goes, unless it answers the very same."""
    known = tuple(own_labels(pretrained))
    model, loaded = _load(auto, pretrained, ignore_mismatched_sizes=True, **head)
    if not loaded["missing_keys"] and not loaded["mismatched_keys"] and known != labels:
        fresh = auto.from_config(model.config)
        fresh.base_model.load_state_dict(model.base_model.state_dict())
        model = fresh
    return model  # type: ignore[no-any-return]


def _load(auto: Any, pretrained: Path, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """A pretrained model, and how its weights fitted; pickled ones are read as tensors alone (`weights_only`)."""
    tidy = any(pretrained.glob("*.safetensors"))
    model, loaded = auto.from_pretrained(
        pretrained, use_safetensors=tidy, trust_remote_code=False, output_loading_info=True, **settings
    )
    return model, loaded


def as_it_is(kind: Kind, pretrained: Path) -> torch.nn.Module:
    """The model with the head it was saved with; HarnessError if it has none for this kind."""
    import transformers

    model, loaded = _load(getattr(transformers, kind.auto_class), pretrained)
    if loaded["missing_keys"]:
        raise HarnessError(
            f"{pretrained} has no weights for {', '.join(sorted(loaded['missing_keys'])[:3])}: it is no finished model "
            f"of {kind.name}, and cannot be used as it is; give it a Recipe with epochs"
        )
    return model  # type: ignore[no-any-return]


def own_labels(pretrained: Path) -> list[str]:
    """What a checkpoint calls its answers, in their order; HarnessError if its config cannot be read."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(pretrained, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HarnessError(f"{pretrained}: no usable config.json: {error}") from error
    return [str(config.id2label[index]) for index in sorted(config.id2label)]


def label_order(model: Model, pretrained: Path, labels: tuple[str, ...]) -> list[int]:
    """For each answer of a model used as it is, its index in `labels`; below 0, and another each, for one of no row.

    HarnessError where the model cannot answer one of `labels`.
    """
    own = own_labels(pretrained)
    if model.labels and len(model.labels) != len(own):
        raise HarnessError(f"model {model.name}: labels= names {len(model.labels)} answers, it has {len(own)}")
    named = model.labels or tuple(own)
    missing = [label for label in labels if label not in named]
    if missing:
        raise HarnessError(
            f"model {model.name}: as it is, it answers {', '.join(named[:10])}{', …' if len(named) > 10 else ''}, and "
            f"no {', '.join(missing)}; name its answers, in their order, with Model(labels=…), or give it a Recipe "
            "with epochs"
        )
    return [labels.index(name) if name in labels else -1 - at for at, name in enumerate(named)]


def save(model: torch.nn.Module, source: Source, folder: Path, out: Path, processor: Any, example: Arrays) -> None:
    """Write weights, architecture, processor and an example batch of real rows to `out`."""
    from safetensors.numpy import save_file

    save_file(example, out / EXAMPLE)
    from safetensors.torch import save_model

    processor.save_pretrained(out)
    if not isinstance(source, Native):
        model.save_pretrained(out)  # type: ignore[operator]  # a PreTrainedModel
        return
    path, name = source.locate(folder)
    save_model(model, str(out / WEIGHTS))
    shutil.copyfile(path, out / MODULE)
    (out / NATIVE).write_text(json.dumps({"class": name, "arguments": model.shipbench_arguments}))


def load(folder: Path) -> torch.nn.Module:
    """The model in `folder`, in eval mode on the CPU."""
    if is_native(folder):
        from safetensors.torch import load_model

        described = json.loads((folder / NATIVE).read_text())
        model = _native(folder / MODULE, described["class"], described["arguments"])
        load_model(model, str(folder / WEIGHTS))
        return model.eval()
    import transformers

    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(folder, use_safetensors=True)
    return model.eval()  # type: ignore[no-any-return]


def example(folder: Path) -> Arrays:
    """The example batch of the checkpoint in `folder`."""
    from safetensors.numpy import load_file

    return load_file(folder / EXAMPLE)


def is_native(folder: Path) -> bool:
    """Whether the checkpoint in `folder` holds a native module."""
    return (folder / NATIVE).exists()


def _native(path: Path, name: str, arguments: dict[str, int]) -> torch.nn.Module:
    model: torch.nn.Module = load_symbol(str(path), name)(**arguments)
    model.shipbench_arguments = arguments  # type: ignore[assignment]  # so that a model knows how to be made again
    return model


def _indices(labels: tuple[str, ...]) -> dict[str, int]:
    return {label: index for index, label in enumerate(labels)}
