"""Another release of a runtime beside the installed one, on the same artifact in the same rounds."""

from __future__ import annotations

import re

from harness.backends.onnxruntime import ONNXRUNTIME, load
from harness.contracts import Backend
from harness.pythons.interpreter import Python

PREPARING = ("numpy>=2,<3", "transformers>=4.57,<4.58", "pillow>=10")
"""What workers need beside their runtime: numpy always, the others in the finals, where rows are prepared in there."""


def onnxruntime_at(release: str) -> Backend:
    """ONNX Runtime as PyPI had it then, "1.23.2" for instance, running what the installed one runs."""
    return Backend(
        name=f"onnxruntime-{re.sub('[^A-Za-z0-9]+', '-', release)}",
        source=ONNXRUNTIME,
        load=load,
        runs_in=Python(requirements=(f"onnxruntime=={release}", *PREPARING)),
        devices=("cpu",),
    )
