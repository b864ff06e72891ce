"""A fine-tuned model on disk, Transformers' or native: created, saved, loaded and run the same way.

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
from harness.contracts.sources import Native, Scratch, Source
from harness.errors import HarnessError
from harness.util.identity import load_symbol

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
NATIVE = "native.json"
MODULE = "module.py"
EXAMPLE = "example.safetensors"


def create(
    source: Source, kind: Kind, folder: Path, pretrained: Path | None, labels: tuple[str, ...], processor: Any
) -> torch.nn.Module:
    """Return the model before training, with a new head for `labels`; `folder` is the suite's."""
    import transformers

    if isinstance(source, Native):
        path, name = source.locate(folder)
        if kind.native_arguments is None:
            raise HarnessError(f"{source}: {kind.name} takes no native modules; use a Package, a Hub or a Local")
        return _create_native(path, name, kind.native_arguments(processor, len(labels)))
    indices = {label: index for index, label in enumerate(labels)}
    head: dict[str, Any] = {"id2label": dict(enumerate(labels)), "label2id": indices} if labels else {}
    auto = getattr(transformers, kind.auto_class)
    if isinstance(source, Scratch):
        settings = dict(source.config)
        config = transformers.AutoConfig.for_model(settings.pop("model_type"), **settings, **head)
        return auto.from_config(config)  # type: ignore[no-any-return]
    assert pretrained is not None
    return _with_new_head(auto, pretrained, labels, head) if labels else _from_pretrained(auto, pretrained)[0]


def _with_new_head(auto: Any, pretrained: Path, labels: tuple[str, ...], head: dict[str, Any]) -> torch.nn.Module:
    """Return the pretrained body with a new head; its own head stays only if it has the very same labels."""
    model, loaded = _from_pretrained(auto, pretrained, ignore_mismatched_sizes=True, **head)
    if loaded["missing_keys"] or loaded["mismatched_keys"] or tuple(read_labels(pretrained)) == labels:
        return model  # type: ignore[no-any-return]
    fresh = auto.from_config(model.config)
    fresh.base_model.load_state_dict(model.base_model.state_dict())
    return fresh  # type: ignore[no-any-return]


def _from_pretrained(auto: Any, pretrained: Path, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """Return a pretrained model and how its weights fitted; pickles are read with `weights_only`, as tensors alone."""
    settings |= {"use_safetensors": not is_pickled(pretrained), "trust_remote_code": False}
    return auto.from_pretrained(pretrained, output_loading_info=True, **settings)  # type: ignore[no-any-return]


def is_pickled(pretrained: Path) -> bool:
    """Return True if the weights are pickled, without a copy in safetensors."""
    return not any(pretrained.glob("*.safetensors"))


def read_labels(pretrained: Path) -> list[str]:
    """Return a checkpoint's names for its labels, in their order; HarnessError if its config cannot be read."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(pretrained, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HarnessError(f"{pretrained}: no usable config.json: {error}") from error
    return [str(config.id2label[index]) for index in sorted(config.id2label)]


def load_as_is(kind: Kind, pretrained: Path) -> torch.nn.Module:
    """Return the model with the head it was saved with; HarnessError if it has none for this kind."""
    import transformers

    model, loaded = _from_pretrained(getattr(transformers, kind.auto_class), pretrained)
    missing = sorted(key for key in loaded["missing_keys"] if not key.startswith(kind.optional_weights))
    if missing:
        raise HarnessError(
            f"{pretrained} has no weights for {', '.join(missing[:3])}: it is not a finished model for {kind.name}; "
            "give it a Recipe with epochs"
        )
    return model  # type: ignore[no-any-return]


def save(model: torch.nn.Module, source: Source, folder: Path, out: Path, processor: Any, example: Arrays) -> None:
    """Write weights, architecture, processor and an example batch of real rows to `out`."""
    from safetensors.numpy import save_file
    from safetensors.torch import save_model

    save_file(example, out / EXAMPLE)
    processor.save_pretrained(out)
    if not isinstance(source, Native):
        model.save_pretrained(out)  # type: ignore[operator]  # a PreTrainedModel
        return
    path, name = source.locate(folder)
    save_model(model, str(out / WEIGHTS))
    shutil.copyfile(path, out / MODULE)
    (out / NATIVE).write_text(json.dumps({"class": name, "arguments": model.shipbench_arguments}))


def load(folder: Path) -> torch.nn.Module:
    """Return the model in `folder`, in eval mode on the CPU."""
    if is_native(folder):
        from safetensors.torch import load_model

        declared = json.loads((folder / NATIVE).read_text())
        model = _create_native(folder / MODULE, declared["class"], declared["arguments"])
        load_model(model, str(folder / WEIGHTS))
        return model.eval()
    import transformers

    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    model = getattr(transformers, architecture).from_pretrained(folder, use_safetensors=True)
    return model.eval()  # type: ignore[no-any-return]


def example(folder: Path) -> Arrays:
    """Return the example batch of the checkpoint in `folder`."""
    from safetensors.numpy import load_file

    return load_file(folder / EXAMPLE)


def is_native(folder: Path) -> bool:
    """Return whether the checkpoint in `folder` holds a native module."""
    return (folder / NATIVE).exists()


def make_run(model: Any, device: str) -> Callable[[Arrays], Arrays]:
    """Return a function from host arrays to the model's outputs by name, the device's work complete.

    A bare tensor is called `logits`. A model that generates answers with `sequences`, by its own generation config.
    """
    import torch

    call = partial(model.generate, do_sample=False) if generates(model) else model

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            output = call(**{name: torch.from_numpy(array).to(device) for name, array in arrays.items()})
        if isinstance(output, torch.Tensor):
            output = {"sequences" if call is not model else "logits": output}
        return {name: value.cpu().numpy() for name, value in output.items() if isinstance(value, torch.Tensor)}

    return run


def generates(model: Any) -> bool:
    """Return whether a model answers with generated text; an encoder-decoder under a head of labels does not."""
    return getattr(model, "can_generate", lambda: False)() and model.config.is_encoder_decoder


def _create_native(path: Path, name: str, arguments: dict[str, int]) -> torch.nn.Module:
    model: torch.nn.Module = load_symbol(str(path), name)(**arguments)
    model.shipbench_arguments = arguments  # type: ignore[assignment]  # from which `load` creates it again
    return model
