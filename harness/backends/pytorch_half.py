"""PyTorch in a shorter float: weights and arithmetic, while inputs and outputs stay float32 on the host."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.backends.cuda import exact_torch
from harness.contracts import Backend, Session, Target


def load_fp16(artifact: Path, target: Target) -> Session:
    """The checkpoint's model in float16, in eval mode."""
    return load_in("float16", artifact, target)


def load_in(form: str, artifact: Path, target: Target) -> Session:
    """The checkpoint's model in one of torch's floating forms, by its name."""
    import torch

    from harness import checkpoint

    torch.set_num_threads(target.threads)
    settings = exact_torch() if target.device == "cuda" else {}
    model = in_form(checkpoint.load(artifact), getattr(torch, form)).to(target.device)
    weight = next(model.parameters())
    return Session(
        run=checkpoint.answering(model, target.device),
        device=weight.device.type,
        settings={
            "torch": torch.__version__,
            "threads": str(torch.get_num_threads()),
            "form": str(weight.dtype).removeprefix("torch."),
            **settings,
        },
    )


def in_form(model: Any, form: Any) -> Any:
    """The model in another floating form; what it is given is cast on its way in, its outputs to float32 on theirs."""
    import torch

    def cast(value: Any, to: Any) -> Any:
        return value.to(to) if isinstance(value, torch.Tensor) and value.is_floating_point() else value

    def given(_: Any, args: Any, kwargs: Any) -> Any:
        return tuple(cast(value, form) for value in args), {name: cast(value, form) for name, value in kwargs.items()}

    def answered(_: Any, __: Any, output: Any) -> Any:
        if not hasattr(output, "items"):
            return cast(output, torch.float32)
        for name, value in list(output.items()):
            output[name] = cast(value, torch.float32)
        return output

    model = model.to(form)
    model.register_forward_pre_hook(given, with_kwargs=True)
    model.register_forward_hook(answered)
    return model


PYTORCH_FP16 = Backend(name="pytorch-fp16", load=load_fp16, lossy=True, devices=("cuda",))
