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
            return auto.from_pretrained(pretrained, use_safetensors=_has_safetensors(pretrained), **head)  # type: ignore[no-any-return]


def as_it_is(kind: Kind, pretrained: Path) -> torch.nn.Module:
    """The model with the head it was saved with."""
    import transformers

    auto = getattr(transformers, kind.auto_class)
    return auto.from_pretrained(pretrained, use_safetensors=_has_safetensors(pretrained))  # type: ignore[no-any-return]


def label_order(model: Model, pretrained: Path, labels: tuple[str, ...]) -> list[int]:
    """For each answer of a model used as it is, its index in `labels`; -1 for one that no row has.

    HarnessError where the model cannot answer one of `labels`.
    """
    config = json.loads((pretrained / "config.json").read_text())
    own = [name for _, name in sorted(config.get("id2label", {}).items(), key=lambda pair: int(pair[0]))]
    if model.labels and len(model.labels) != len(own or model.labels):
        raise HarnessError(f"model {model.name}: labels= names {len(model.labels)} answers of {len(own)}")
    named = model.labels or tuple(own)
    missing = [label for label in labels if label not in named]
    if missing:
        raise HarnessError(
            f"model {model.name}: as it is, it answers {', '.join(named[:10]) or 'labels without a name'}"
            f"{', …' if len(named) > 10 else ''}, and no {', '.join(missing)}; name its answers, in their order, with "
            "Model(labels=…), or give it a Recipe with epochs"
        )
    return [labels.index(name) if name in labels else -1 for name in named]


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


def _has_safetensors(pretrained: Path) -> bool:
    """Where not, pickled weights are read as tensors alone (`weights_only`, Transformers' default)."""
    return any(pretrained.glob("*.safetensors"))


def _native(path: Path, name: str, arguments: dict[str, int]) -> torch.nn.Module:
    model: torch.nn.Module = load_symbol(str(path), name)(**arguments)
    model.shipbench_arguments = arguments  # type: ignore[assignment]  # so that a model knows how to be made again
    return model


def _indices(labels: tuple[str, ...]) -> dict[str, int]:
    return {label: index for index, label in enumerate(labels)}
