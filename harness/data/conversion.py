"""Models of a package in a form of their own: converted once to a folder as `save_pretrained` writes it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from harness.contracts.vetting import offline
from harness.data import ctranslate2, gguf
from harness.errors import HarnessError, brief_error
from harness.util.console import quiet
from harness.util.machine import missing_module


class Form(NamedTuple):
    """A form in which a model may be stored."""

    name: str
    holds: Callable[[Path], bool]
    """Path → whether it holds a model in this form."""
    save: Callable[[Path, Path], None]
    """(path, new folder) → nothing; writes the model with weights in float32, and its processor."""
    needs: str | None = None
    """Module that reads it."""


FORMS = (
    Form("GGUF", gguf.is_one, gguf.save, "gguf"),
    Form("CTranslate2's form", ctranslate2.is_one, ctranslate2.save),
)


def convert(path: Path, sha256: str) -> Path:
    """Return the folder that files with this hash convert to, kept among the assets of the Hub's library.

    It is `path` itself unless that is in one of FORMS.
    """
    from huggingface_hub import cached_assets_path
    from transformers import __version__

    form = next((form for form in FORMS if form.holds(path)), None)
    if form is None:
        return path
    folder = cached_assets_path("shipbench", form.save.__module__.rpartition(".")[2], f"{sha256}-{__version__}")
    if (folder / "config.json").is_file():
        return folder
    if form.needs and (problem := missing_module(form.needs, form.needs)):
        raise HarnessError(f"{path} is in {form.name}: {problem}")
    with TemporaryDirectory(dir=folder.parent) as scratch, quiet(), offline():
        try:
            form.save(path, Path(scratch) / "model")
        except Exception as error:  # Transformers raises errors of many kinds
            raise HarnessError(
                f"{path}: Transformers reads no model from it: {brief_error(error)}; give the folder of the model from "
                "which it was made"
            ) from error
        if not (folder / "config.json").is_file():  # of another session
            shutil.rmtree(folder)
            (Path(scratch) / "model").replace(folder)
    return folder
