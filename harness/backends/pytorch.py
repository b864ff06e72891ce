"""PyTorch eager: the reference. Its artifact is the checkpoint itself."""

from __future__ import annotations

import os
from pathlib import Path

from harness.backends.cuda import exact_torch
from harness.contracts import REFERENCE, Backend, Session, Target


def load(artifact: Path, target: Target) -> Session:
    """The checkpoint's model in eval mode; every call runs under `inference_mode` and ends on the host."""
    import torch

    from harness import checkpoint

    torch.set_num_threads(target.threads)
    settings = exact_torch() if target.device == "cuda" else {}
    model = checkpoint.load(artifact).to(target.device)

    return Session(
        run=checkpoint.answering(model, target.device),
        device=next(model.parameters()).device.type,
        settings={
            "torch": torch.__version__,
            "threads": str(torch.get_num_threads()),
            "wait_policy": os.environ.get("OMP_WAIT_POLICY", ""),
            **settings,
        },
    )


PYTORCH = Backend(name=REFERENCE, load=load)
