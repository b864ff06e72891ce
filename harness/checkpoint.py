"""A fine-tuned model on disk, Transformers' or native: saved, loaded and run the same way.

Layout: `model.safetensors`, the processor's files, `example.safetensors` (a batch of two real rows, for exporters
that trace), and either `config.json` (Transformers) or `native.json` and `module.py` (native).
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.kind import Arrays
from harness.contracts.sources import Native, Source
from harness.contracts.vetting import offline
from harness.errors import HarnessError, brief_error, name_some
from harness.util import decoding
from harness.util.forward import accepted_names, pick_logits
from harness.util.identity import load_symbol
from harness.util.keras_module import as_module, is_keras, on_torch

if TYPE_CHECKING:
    import torch

WEIGHTS = "model.safetensors"
NATIVE = "native.json"
MODULE = "module.py"
EXAMPLE = "example.safetensors"
UNUSED = ("sklearn", "scipy")
"""Packages that Transformers needs only for assisted generation and for the losses of object detection. Importing them
takes a worker 2.5 of the 6 s in which it starts.
"""


def read_json(file: Path) -> Any:
    """Return the contents of a file beside the weights; HarnessError if it is missing or no JSON."""
    try:
        return json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise HarnessError(f"{file}: no usable JSON; save the model again: {error}") from error


@offline()
def read_labels(pretrained: Path) -> list[str]:
    """Return a checkpoint's names for its labels, in their order; HarnessError if its config cannot be read."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(pretrained, trust_remote_code=False)
    except (OSError, ValueError) as error:
        raise HarnessError(
            f"{pretrained}: no usable config.json; save the model again: {brief_error(error)}"
        ) from error
    return [str(config.id2label[index]) for index in sorted(config.id2label)]


def save(model: torch.nn.Module, source: Source, folder: Path, out: Path, processor: Any, example: Arrays) -> None:
    """Write weights, architecture, processor and an example batch of real rows to `out`."""
    from safetensors.numpy import save_file
    from safetensors.torch import save_model

    save_file(example, out / EXAMPLE)
    processor.save_pretrained(out)
    if not isinstance(source, Native):
        # One file of any size: its hash stands for the weights.
        model.save_pretrained(out, max_shard_size=sys.maxsize)  # type: ignore[operator]  # a PreTrainedModel
        return
    path, name = source.locate(folder)
    save_model(model, str(out / WEIGHTS))
    shutil.copyfile(path, out / MODULE)
    declared = {"class": name, "arguments": model.shipbench_arguments, "logits": getattr(model, "shipbench_logits", "")}
    declared |= {"keras": names} if (names := getattr(model, "shipbench_keras", None)) else {}
    (out / NATIVE).write_text(json.dumps(declared))


def load(folder: Path) -> torch.nn.Module:
    """Return the model in `folder`, in eval mode on the CPU."""
    if is_native(folder):
        from safetensors.torch import load_model

        declared = json.loads((folder / NATIVE).read_text())
        model = create_native(folder / MODULE, declared["class"], declared["arguments"])
        load_model(model, str(folder / WEIGHTS))
        if declared.get("logits"):
            model.register_forward_hook(pick_logits)
        return model.eval()
    leave_out_unused()
    import transformers

    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    with offline():
        model = getattr(transformers, architecture).from_pretrained(folder, use_safetensors=True, dtype="float32")
    return model.eval()  # type: ignore[no-any-return]


def leave_out_unused() -> None:
    """Have Transformers, if it is not imported yet, do without UNUSED."""
    if "transformers" in sys.modules:
        return
    absent = [name for name in UNUSED if name not in sys.modules]
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None marks a missing module
    try:
        from transformers.utils import is_scipy_available, is_sklearn_available

        for is_available in (is_scipy_available, is_sklearn_available):
            is_available()  # which remembers its answer
    finally:
        for name in absent:
            del sys.modules[name]


def example(folder: Path) -> Arrays:
    """Return the example batch of the checkpoint in `folder`."""
    from safetensors.numpy import load_file

    return load_file(folder / EXAMPLE)


def is_native(folder: Path) -> bool:
    """Return whether the checkpoint in `folder` holds a native module."""
    return (folder / NATIVE).exists()


def make_run(model: Any, device: str, dtype: torch.dtype | None = None) -> Callable[[Arrays], Arrays]:
    """Return a function from host arrays to the model's outputs by name, the device's work complete.

    The model is given the arrays that its `forward` takes. A bare tensor is called `logits`. A model that generates
    answers with one of `sequences` a row, by its own generation config without sampling. With a `dtype`, floating
    inputs are cast to it and outputs to float32: numpy has no bfloat16.
    """
    import torch

    accepted, call = accepted_names(model), model
    if generates(model) and not model.config.is_encoder_decoder:
        return _make_writer(model, device)
    if generates(model):
        dtype = None  # tokens in, tokens out
        call = partial(model.generate, do_sample=False, num_return_sequences=1, return_dict_in_generate=False)

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            inputs = {
                name: torch.from_numpy(array).to(device)
                for name, array in arrays.items()
                if accepted is None or name in accepted
            }
            output = call(**(inputs if dtype is None else _cast(inputs, dtype)))
            if isinstance(output, torch.Tensor):
                output = {"sequences" if call is not model else "logits": output}
            if dtype is not None:
                output = _cast(output, torch.float32)
        return {name: value.cpu().numpy() for name, value in output.items() if isinstance(value, torch.Tensor)}

    return run


def _cast(values: Mapping[str, Any], dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Return the tensors among the values, those of floats in this type."""
    import torch

    tensors = {name: value for name, value in values.items() if isinstance(value, torch.Tensor)}
    return {name: value.to(dtype) if value.is_floating_point() else value for name, value in tensors.items()}


def _make_writer(model: Any, device: str) -> Callable[[Arrays], Arrays]:
    """Return a function from prompts, padded on the left, to the tokens that a decoder writes after them."""
    import torch

    limits = decoding.limits(model.generation_config.to_dict())
    assert limits is not None

    def write(arrays: Arrays) -> Arrays:
        watch, prompts = decoding.Watch(), arrays["input_ids"]
        with torch.inference_mode():
            inputs = {name: torch.from_numpy(arrays[name]).to(device) for name in ("input_ids", "attention_mask")}
            # It writes on after an end: every call has the same length.
            written = model.generate(**inputs, do_sample=False, eos_token_id=None, stopping_criteria=[watch])
        return limits.answer(written[:, prompts.shape[1] :].cpu().numpy(), watch.first_ns)

    return write


def generates(model: Any) -> bool:
    """Return whether a model answers with generated text: an encoder-decoder with such a head, or a decoder whose
    settings state how many tokens it writes.
    """
    if not getattr(model, "can_generate", lambda: False)():
        return False
    return model.config.is_encoder_decoder or model.generation_config.max_new_tokens is not None


def create_native(path: Path, name: str, arguments: dict[str, Any]) -> torch.nn.Module:
    """Return what a file's class or function makes of these arguments, a Keras model as a module of torch."""
    import torch

    try:
        with on_torch():
            model: torch.nn.Module = load_symbol(str(path), name)(**arguments)
    except TypeError as error:
        raise HarnessError(f"{path}: {name}(**{arguments}) fails: {brief_error(error)}; let it take these") from error
    if is_keras(model):
        model = as_module(f"{path}: {name}", model)
    if not isinstance(model, torch.nn.Module):
        raise HarnessError(f"{path}: {name} is no torch.nn.Module, nor a keras.Model on PyTorch; derive it from one")
    if lazy := [key for key, value in model.named_parameters() if torch.nn.parameter.is_lazy(value)]:
        raise HarnessError(
            f"{path}: {name} has {name_some(lazy)} without a shape, of a lazy layer; give the layer its size, as in "
            "Linear instead of LazyLinear"
        )
    model.shipbench_arguments = arguments  # type: ignore[assignment]  # from which `load` creates it again
    return model
