"""PyTorch eager: the reference. Its artifact is the checkpoint itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from harness.contracts import REFERENCE, Arrays, Backend, Session, Target


def load(artifact: Path, target: Target) -> Session:
    """The checkpoint's model in eval mode; every call runs under `inference_mode` and ends on the host."""
    import torch

    from harness import checkpoint

    torch.set_num_threads(target.threads)
    model = checkpoint.load(artifact).to(target.device)

    def run(arrays: Arrays) -> Arrays:
        with torch.inference_mode():
            return host(model(**{name: torch.from_numpy(array).to(target.device) for name, array in arrays.items()}))

    return Session(
        run=run,
        device=next(model.parameters()).device.type,
        settings={"torch": torch.__version__, "threads": str(torch.get_num_threads())},
    )


def host(output: Any) -> Arrays:
    """A model's output as host arrays by name; a bare tensor is called `logits`. Waits for the device."""
    import torch

    named = {"logits": output} if isinstance(output, torch.Tensor) else output
    return {name: value.cpu().numpy() for name, value in named.items() if isinstance(value, torch.Tensor)}


PYTORCH = Backend(name=REFERENCE, load=load)
