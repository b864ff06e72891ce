"""The call of a model: the arguments that its `forward` takes, and the logits in what a native one returns."""

from __future__ import annotations

import inspect
from collections.abc import Collection, Mapping
from typing import Any

from harness.errors import HarnessError, brief_error


def accepted_names(model: Any) -> frozenset[str] | None:
    """Return the names of the arguments that a model takes; None if it takes any."""
    forward = getattr(getattr(model, "_orig_mod", model), "forward", None)  # below the wrapper of torch.compile
    parameters = inspect.signature(forward).parameters.values() if forward else []
    # Heads of Transformers pass further keywords to layers that know nothing of a tokenizer's outputs.
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters) and not hasattr(model, "base_model_prefix")
    return None if takes_any or not forward else frozenset(p.name for p in parameters if p.kind is not p.VAR_KEYWORD)


def ignored_names(owner: str, model: Any, names: Collection[str]) -> list[str]:
    """Return the arrays of a batch that the model does not take; HarnessError if it needs one that is not there."""
    given, parameters = ", ".join(names), inspect.signature(model.forward).parameters.values()
    variadic = (inspect.Parameter.VAR_KEYWORD, inspect.Parameter.VAR_POSITIONAL)
    required = [p.name for p in parameters if p.default is p.empty and p.kind not in variadic]
    if missing := [name for name in required if name not in names]:
        raise HarnessError(
            f"{owner}: {type(model).__name__}.forward needs {', '.join(missing)}, and a batch holds {given}; name its "
            "arguments like these, or give the others a default"
        )
    accepted = accepted_names(model)
    ignored = [] if accepted is None else [name for name in names if name not in accepted]
    if len(ignored) == len(names):
        raise HarnessError(f"{owner}: {type(model).__name__}.forward takes none of {given}; name its arguments so")
    return ignored


def logits_access(output: Any) -> str:
    """Return the Python that selects the logits from a module's output; empty if they are all of it, or not clear."""
    import torch

    if isinstance(output, Mapping):
        return '["logits"]' if "logits" in output else ""
    if hasattr(output, "logits"):
        return ".logits"
    parts = enumerate(output) if isinstance(output, tuple | list) else ()
    tensors = [f"[{place}]" for place, part in parts if isinstance(part, torch.Tensor)]
    return tensors[0] if len(tensors) == 1 else ""


def pick_logits(module: Any, args: Any, output: Any) -> Any:
    """Return the logits in the output of a module, if they are clear; a forward hook."""
    access = logits_access(output)
    if access.startswith("["):
        return output["logits" if isinstance(output, Mapping) else int(access[1:-1])]
    return output.logits if access else output


def check_native(owner: str, module: Any, batch: Mapping[str, Any], labels: int, rank: int = 0) -> None:
    """Run a native module on a batch of tensors and let it return logits alone from now on.

    HarnessError if it fails, or returns no row of `labels` numbers for each entry, as an array of `rank` axes if given.
    """
    import torch

    name, entries = f"{type(module).__name__}.forward", len(next(iter(batch.values())))
    was_training = module.training
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):  # whose tensors may be trained, if any are made
            output = module.eval()(**batch)
    except Exception as error:
        shapes = ", ".join(f"{name} {tuple(tensor.shape)}" for name, tensor in batch.items())
        raise HarnessError(f"{owner}: {name} fails on {shapes}: {brief_error(error)}; correct it") from error
    finally:
        module.train(was_training)
    logits = pick_logits(module, (), output)
    if not isinstance(logits, torch.Tensor):
        raise HarnessError(f"{owner}: {name} returns {_describe(output)}; let it return the logits alone, as a tensor")
    shape = tuple(logits.shape)
    fits = (
        len(shape) > 1
        and (shape[0], shape[-1]) == (entries, labels or shape[-1])
        and len(shape) == (rank or len(shape))
    )
    # numpy has no bfloat16
    if not fits or logits.dtype not in (torch.float16, torch.float32, torch.float64):
        raise HarnessError(
            f"{owner}: {name} returns {logits.dtype} of shape {shape} for {entries} rows; let it return a floating "
            f"logit for each of the {labels} labels, float32 of shape ({entries}, {'' if rank == 2 else '…, '}{labels})"
        )
    module.shipbench_logits = logits_access(output)
    if module.shipbench_logits:
        module.register_forward_hook(pick_logits)


def _describe(output: Any) -> str:
    """Return what a module returned, in words."""
    name = type(output).__name__
    if isinstance(output, Mapping):
        return f"a {name} of {', '.join(map(str, output)) or 'nothing'}"
    return f"a {name} of {len(output)} values" if isinstance(output, tuple | list) else f"a {name}"
