"""The model before training: pretrained, with its own head or a new one; an architecture; or a native module."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.checkpoint import WEIGHTS, create_native, read_labels
from harness.contracts.kind import UNTAUGHT
from harness.contracts.sources import Native, Scratch
from harness.contracts.vetting import offline
from harness.errors import HarnessError, name_some

if TYPE_CHECKING:
    import torch

    from harness.contracts.kind import Kind
    from harness.contracts.sources import Source

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
        return create_native(path, name, kind.native_arguments(processor, len(labels) or 1))
    if kind.label == "number":
        labels = ONE_NUMBER
    auto, head = getattr(transformers, kind.auto_class), _head_settings(kind, labels)
    if isinstance(source, Scratch):
        settings = dict(source.config)
        config = transformers.AutoConfig.for_model(settings.pop("model_type"), **(settings | head | OUTPUTS))
        return auto.from_config(config)  # type: ignore[no-any-return]
    assert pretrained is not None
    settings = head if dropout is None else head | _dropouts(pretrained, dropout)
    return _with_new_head(auto, pretrained, labels, settings) if labels else read_model(auto, pretrained, **settings)[0]


def _head_settings(kind: Kind, labels: tuple[str, ...]) -> dict[str, Any]:
    """Return the settings of a config that its head and its loss are made by."""
    settings: dict[str, Any] = {"semantic_loss_ignore_index": UNTAUGHT} if kind.label == "mask" else {}
    if labels:
        settings["id2label"] = dict(enumerate(labels))
        settings["label2id"] = {label: index for index, label in enumerate(labels)}
        settings["problem_type"] = kind.problem_type  # never the former head's: it decides the loss
    return settings


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
    problems = []
    if missing:
        # A model without a part of that name, a CLIP for instance, is a body as a whole: it has no head to train.
        part = body if any(key.startswith(body) for key in model.state_dict()) else ""
        advice = _missing_advice(kind, part, missing, sorted(loaded["unexpected_keys"]))
        problems.append(f"has no weights for {name_some(missing)}{advice}")
    if mismatched:
        shape = tuple(model.state_dict()[mismatched[0]].shape)
        problems.append(
            f"has weights of another shape than config.json declares for {name_some(mismatched)} (declared: {shape}); "
            "correct config.json, or save the model again"
        )
    if surplus:
        problems.append(
            f"has weights of more layers than config.json declares, for example {name_some(surplus)}; correct its "
            "number of layers"
        )
    return [f"{pretrained} {problem}" for problem in problems]


def _missing_advice(kind: Kind, body: str, missing: list[str], others: list[str]) -> str:
    """Return the end of the sentence about missing weights, where `others` are no weights of the model."""
    in_body = [key.startswith(body) for key in missing]
    if kind.auto_class == "AutoModel" or all(in_body):
        return ", which config.json declares: save the model again"
    if others and any(in_body):
        return f", but for {name_some(others)}, whose names are not this model's: save it again with save_pretrained"
    return f": it is not a finished model for {kind.name}; train a head for it with Model(recipe=Recipe(epochs=3))"


def _layer(key: str, body: str) -> str:
    """Return a numbered weight's name without the number; else something that no other weight is called."""
    name, numbers = re.subn(r"\.\d+\.", ".#.", key.removeprefix(body))
    return name if numbers else key


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
