"""Helpers for tests of what a user has outside this repository: README examples, an environment, a file."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from conftest import REPOSITORY

BAG = """
import torch

class Bag(torch.nn.Module):
    def __init__(self, vocab_size, num_labels):
        super().__init__()
        self.words = torch.nn.EmbeddingBag(vocab_size, num_labels, padding_idx=0)

    def forward(self, input_ids):
        return 4 * self.words(input_ids)
"""
"""A native module, as the file that a suite names."""


def readme_example(begin: str, readme: str = "README.md") -> str:
    """Return the Python block of a README that begins so."""
    (block,) = re.findall(rf"```python\n({begin}.*?)```", (REPOSITORY / readme).read_text(), re.DOTALL)
    return str(block)


def environment(folder: Path, *packages: Path) -> Path:
    """Make a virtual environment with these packages of the present one only; return its interpreter."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (site_packages,) = folder.glob("lib/python*/site-packages")
    for package in packages:
        for pattern in (package.name, f"{package.name}.libs", f"{package.name}-*.dist-info"):
            for path in package.parent.glob(pattern):
                (site_packages / path.name).symlink_to(path)
    return folder / "bin" / "python"


def functions_of(file: Path) -> dict[str, Any]:
    """Return the names that a file defines."""
    namespace: dict[str, Any] = {}
    exec(compile(file.read_text(), str(file), "exec"), namespace)  # noqa: S102
    return namespace
