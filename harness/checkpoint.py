"""A fine-tuned model on disk, Transformers' or native: created, saved, loaded and run the same way.

Layout: `model.safetensors`, the processor's files, `example.safetensors` (a batch of two real rows, for exporters
that trace), and either `config.json` (Transformers) or `native.json` and `module.py` (native).
"""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.contracts.kind import UNTAUGHT, Arrays, Kind
from harness.contracts.sources import Native, Scratch, Source
from harness.contracts.vetting import offline
from harness.errors import HarnessError, brief_error
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
ONE_NUMBER = ("LABEL_0",)
"""Labels of a head that answers one number, as Transformers calls them."""
OUTPUTS = {"return_dict": True, "output_hidden_states": False, "output_attentions": False}
"""Settings of a config that change how a model answers, not what: exporters and losses look for outputs by name."""


@offline()
def create(
    source: Source,
    kind: Kind,
    folder: Path,
    pretrained: Path | None,
    labels: tuple[str, ...],
    processor: Any,
    dropout: float | None = None,
) -> torch.nn.Module:
    """Return the model before training, with a new head for `labels`; `folder` is the suite's.

    `dropout` replaces every probability of dropout in a pretrained model's config.
    """
    import transformers

    if isinstance(source, Native):
        path, name = source.locate(folder)
        if kind.native_arguments is None:
            raise HarnessError(f"{source}: {kind.name} takes no native modules; use a Package, a Hub or a Local")
        return _create_native(path, name, kind.native_arguments(processor, len(labels) or 1))
    if kind.label == "number":
        labels = ONE_NUMBER
    indices = {label: index for index, label in enumerate(labels)}
    head: dict[str, Any] = {"id2label": dict(enumerate(labels)), "label2id": indices} if labels else {}
    if labels:
        head["problem_type"] = kind.problem_type  # never the former head's: it decides the loss
    if kind.label == "mask":
        head["semantic_loss_ignore_index"] = UNTAUGHT
    auto = getattr(transformers, kind.auto_class)
    if isinstance(source, Scratch):
        settings = dict(source.config)
        config = transformers.AutoConfig.for_model(settings.pop("model_type"), **(settings | head | OUTPUTS))
        return auto.from_config(config)  # type: ignore[no-any-return]
    assert pretrained is not None
    settings = head if dropout is None else head | _dropouts(pretrained, dropout)
    return _with_new_head(auto, pretrained, labels, settings) if labels else read_model(auto, pretrained, **settings)[0]


def _dropouts(pretrained: Path, probability: float) -> dict[str, float]:
    """Return the settings of a model's config that are probabilities of dropout, all set to `probability`."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(pretrained, trust_remote_code=False).to_dict()
    names = [
        name for name, value in config.items() if re.search("dropout|pdrop", name) and isinstance(value, float | int)
    ]
    if not names:
        raise HarnessError(
            f"{pretrained}: the recipe sets dropout={probability}, and its config.json has no dropout; leave it out"
        )
    return dict.fromkeys(names, probability)


def _with_new_head(auto: Any, pretrained: Path, labels: tuple[str, ...], head: dict[str, Any]) -> torch.nn.Module:
    """Return the pretrained body with a new head; its own head stays only if it has the very same labels."""
    model, loaded = read_model(auto, pretrained, **head)
    if loaded["missing_keys"] or loaded["mismatched_keys"] or tuple(read_labels(pretrained)) == labels:
        return model  # type: ignore[no-any-return]
    fresh = auto.from_config(model.config)
    fresh.base_model.load_state_dict(model.base_model.state_dict())
    return fresh  # type: ignore[no-any-return]


@offline()
def read_model(auto: Any, pretrained: Path, **settings: Any) -> tuple[Any, dict[str, Any]]:
    """Return a pretrained model in float32 and how its weights fitted; check them with `misfits`.

    Pickles are read with `weights_only`, as tensors alone.
    """
    settings |= {"use_safetensors": not is_pickled(pretrained), "trust_remote_code": False, "dtype": "float32"}
    settings |= OUTPUTS
    return auto.from_pretrained(  # type: ignore[no-any-return]
        pretrained, output_loading_info=True, ignore_mismatched_sizes=True, **settings
    )


def is_pickled(pretrained: Path) -> bool:
    """Return True if Transformers reads pickled weights: it prefers its own files in safetensors, and reads no others.

    A file of another name, an adapter's or an optimizer's for instance, is not the model's.
    """
    return not any((pretrained / name).is_file() for name in (WEIGHTS, f"{WEIGHTS}.index.json"))


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


def load_as_is(kind: Kind, pretrained: Path) -> torch.nn.Module:
    """Return the model with the head it was saved with; HarnessError if it has none for this kind."""
    import transformers

    model, loaded = read_model(getattr(transformers, kind.auto_class), pretrained)
    if problems := misfits(kind, pretrained, model, loaded, as_is=True):
        raise HarnessError("\n".join(problems))
    return model  # type: ignore[no-any-return]


def misfits(kind: Kind, pretrained: Path, model: Any, loaded: dict[str, Any], *, as_is: bool) -> list[str]:
    """Return how weights and config.json do not fit each other, where Transformers would draw weights at random.

    A model that gets a new head needs its body alone.
    """
    body = f"{model.base_model_prefix}."

    def counts(key: str) -> bool:
        in_body = key.startswith(body) or kind.auto_class == "AutoModel"
        return not key.startswith(kind.optional_weights) if as_is else in_body and ".pooler." not in key

    missing = sorted(filter(counts, loaded["missing_keys"]))
    mismatched = sorted(key for key, *_ in loaded["mismatched_keys"] if counts(key))
    layers = {_layer(key, body) for key in model.state_dict()}
    surplus = sorted(key for key in loaded["unexpected_keys"] if _layer(key, body) in layers)
    has_head = kind.auto_class != "AutoModel" and any(key.startswith(body) for key in model.state_dict())
    problems = []
    if missing and (not has_head or all(key.startswith(body) for key in missing)):
        problems.append(f"has no weights for {_some(missing)}, which config.json declares: save the model again")
    elif missing:
        others = sorted(loaded["unexpected_keys"])
        named = f", but for {_some(others)}" if others and any(key.startswith(body) for key in missing) else ""
        problems.append(
            f"has no weights for {_some(missing)}{named}, whose names are not this model's: save it again with "
            "save_pretrained"
            if named
            else f"has no weights for {_some(missing)}: it is not a finished model for {kind.name}; "
            "train a head for it with Model(recipe=Recipe(epochs=3))"
        )
    if mismatched:
        shape = tuple(model.state_dict()[mismatched[0]].shape)
        problems.append(
            f"has weights of another shape than config.json declares for {_some(mismatched)} (declared: {shape}); "
            "correct config.json, or save the model again"
        )
    if surplus:
        problems.append(
            f"has weights of more layers than config.json declares, for example {_some(surplus)}; correct its number "
            "of layers"
        )
    return [f"{pretrained} {problem}" for problem in problems]


def _layer(key: str, body: str) -> str:
    """Return a numbered weight's name without the number; else something that no other weight is called."""
    name, numbers = re.subn(r"\.\d+\.", ".#.", key.removeprefix(body))
    return name if numbers else key


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


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
        model = _create_native(folder / MODULE, declared["class"], declared["arguments"])
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
            if dtype is not None:
                inputs = {
                    name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()
                }
            output = call(**inputs)
            if isinstance(output, torch.Tensor):
                output = {"sequences" if call is not model else "logits": output}
            if dtype is not None:
                output = {
                    name: value.float() if value.is_floating_point() else value
                    for name, value in output.items()
                    if isinstance(value, torch.Tensor)
                }
        return {name: value.cpu().numpy() for name, value in output.items() if isinstance(value, torch.Tensor)}

    return run


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


def state_length(model: Any, tokenizer: Any, new_tokens: int | None) -> None:
    """Have a model write `new_tokens` tokens; a decoder by greedy search, whatever else its own settings say.

    A decoder of which no number is stated writes nothing: it is read, as any other model.
    """
    from transformers import GenerationConfig

    own = model.generation_config
    if not model.config.is_encoder_decoder:
        end = tokenizer.eos_token_id if own.eos_token_id is None else own.eos_token_id
        tokens = {"bos_token_id": own.bos_token_id, "eos_token_id": end, "pad_token_id": tokenizer.pad_token_id}
        model.generation_config = GenerationConfig(**tokens, max_new_tokens=new_tokens)
    elif new_tokens is not None:
        own.max_new_tokens = new_tokens


def _create_native(path: Path, name: str, arguments: dict[str, Any]) -> torch.nn.Module:
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
            f"{path}: {name} has {_some(lazy)} without a shape, of a lazy layer; give the layer its size, as in Linear "
            "instead of LazyLinear"
        )
    model.shipbench_arguments = arguments  # type: ignore[assignment]  # from which `load` creates it again
    return model
