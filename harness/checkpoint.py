"""A fine-tuned model on disk, Transformers' or native: made, saved and loaded the same way.

Layout: `model.safetensors`, the processor's files, `example.safetensors` (a batch of two real rows, for exporters
that trace), and either `config.json` (Transformers) or `native.json` and `module.py` (native).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.kind import Arrays, Kind
from harness.contracts.sources import Hub, Local, Native, Package, Scratch, Source
from harness.errors import HarnessError
from harness.util.symbols import load_symbol

if TYPE_CHECKING:
    import torch


def own_labels(pretrained: Path) -> list[str]:
    """What a checkpoint calls its answers, in their order; HarnessError if its config cannot be read."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(pretrained, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HarnessError(f"{pretrained}: no usable config.json: {error}") from error
    return [str(config.id2label[index]) for index in sorted(config.id2label)]


WEIGHTS = "model.safetensors"

NATIVE = "native.json"

MODULE = "module.py"

EXAMPLE = "example.safetensors"


def create(
    source: Source, kind: Kind, folder: Path, pretrained: Path | None, labels: tuple[str, ...], processor: Any
) -> torch.nn.Module:
    """The model before training, with a new head for `labels`; `folder` is the suite's."""
    import transformers

    head: dict[str, Any] = {}
    if labels:
        head = {"num_labels": len(labels), "id2label": dict(enumerate(labels)), "label2id": _indices(labels)}
    auto = getattr(transformers, kind.auto_class)
    match source:
        case Native():
            path, name = source.locate(folder)
            if kind.native_arguments is None:
                raise HarnessError(f"{source}: there are no native modules for {kind.name}")
            return _native(path, name, kind.native_arguments(processor, len(labels)))
        case Scratch():
            settings = dict(source.config)
            return auto.from_config(  # type: ignore[no-any-return]
                transformers.AutoConfig.for_model(settings.pop("model_type"), **settings, **head)
            )
        case Package() | Hub() | Local():
            assert pretrained is not None
            return _with_new_head(auto, pretrained, labels, head) if labels else _load(auto, pretrained)[0]


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
    model, loaded = auto.from_pretrained(
        pretrained,
        use_safetensors=not is_pickled(pretrained),
        trust_remote_code=False,
        output_loading_info=True,
        **settings,
    )
    return model, loaded


def is_pickled(pretrained: Path) -> bool:
    """Whether its weights are there as pickles alone, which are then read as tensors and nothing else."""
    return not any(pretrained.glob("*.safetensors"))


def as_it_is(kind: Kind, pretrained: Path) -> torch.nn.Module:
    """The model with the head it was saved with; HarnessError if it has none for this kind."""
    import transformers

    model, loaded = _load(getattr(transformers, kind.auto_class), pretrained)
    missing = sorted(key for key in loaded["missing_keys"] if not key.startswith(kind.spare))
    if missing:
        raise HarnessError(
            f"{pretrained} has no weights for {', '.join(missing[:3])}: it is no finished model "
            f"of {kind.name}, and cannot be used as it is; give it a Recipe with epochs"
        )
    return model  # type: ignore[no-any-return]


def answering(model: Any, device: str) -> Callable[[Arrays], Arrays]:
    """Host arrays → the model's outputs as host arrays by name, the device's work complete.

    A bare tensor is called `logits`. A model that generates answers with `sequences`, by its own generation config.
    """
    import torch

    call = partial(model.generate, do_sample=False) if generates(model) else model

    def answer(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            output = call(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})
        if isinstance(output, torch.Tensor):
            output = {"sequences" if call is not model else "logits": output}
        return {name: value.cpu().numpy() for name, value in output.items() if isinstance(value, torch.Tensor)}

    return answer


def generates(model: Any) -> bool:
    """Whether a model answers with text of its own making; a head of labels on a generating body does not."""
    return getattr(model, "can_generate", lambda: False)() and model.config.is_encoder_decoder


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
