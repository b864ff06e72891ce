"""PyTorch eager: the reference. Its artifact is the checkpoint itself."""

from __future__ import annotations

import os
from pathlib import Path

from harness.backends.cuda import TRANSFERS, exact_torch
from harness.contracts import REFERENCE, Backend, Session, Target


def set_common(target: Target) -> dict[str, str]:
    """Sets what every backend of PyTorch has in common, threads and TF32; settings that each of them records."""
    import torch

    torch.set_num_threads(target.threads)
    return {
        "torch": torch.__version__,
        "threads": str(torch.get_num_threads()),
        "wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
        **exact_torch(),
        **(TRANSFERS if target.device == "cuda" else {}),
    }


def load(artifact: Path, target: Target) -> Session:
    """The checkpoint's model in eval mode; every call runs under `inference_mode` and ends on the host."""
    from harness.training import checkpoint

    settings = set_common(target)
    model = checkpoint.load(artifact).to(target.device)
    return Session(
        run=checkpoint.answering(model, target.device), device=next(model.parameters()).device.type, settings=settings
    )


PYTORCH = Backend(name=REFERENCE, load=load)
