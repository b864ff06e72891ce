"""How a published model is loaded and asked: Python for its reader, which the tests run."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from harness import kinds
from harness.backends.usage import Loading, loading
from harness.errors import HarnessError
from harness.kinds.usage import USAGE
from harness.origins.licences import Licence
from harness.records.schema import Data, Result

KINDS = {kind.name: kind for kind in (getattr(kinds, name) for name in kinds.__all__)}
OWN_NAMES = "model.config.id2label"
CARD = "README.md"
EVIDENCE = "shipbench"
"""Sub-folder with the results that the card is made of."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What a card is of."""

    result: Result
    group: list[Result]
    """Its comparison."""
    folder: Path
    """With the model's files."""
    called: str
    """What the folder is called where it will lie."""
    repo: str | None
    """`owner/name` on the Hub, if it goes there."""
    model_licence: Licence
    data_licence: Licence

    @property
    def data(self) -> Data:
        """The task's rows; a measured case has them."""
        assert self.result.data is not None
        return self.result.data


def code(subject: Subject) -> str:
    """How the model is loaded and asked."""
    kind, usage = KINDS.get(subject.data.kind), USAGE.get(subject.data.kind)
    found = loading(subject.folder, kind.auto_class if kind else None)
    imports, path = _path(subject, found)
    lines = [*found.imports, *imports]
    if usage is None:
        return "\n".join([*lines, "", path, *found.lines])
    before, known = processor(subject), names(subject)
    lines += [f"from transformers import {before}", "", path]
    lines += [f"processor = {before}.from_pretrained(path{usage.loading})", *found.lines]
    if known != OWN_NAMES and "{labels}" in usage.answer:
        lines.append(f"labels = {known}")
        known = "labels"
    answer = usage.answer.format(
        tensors=found.tensors, logits=found.logits, labels=known, cut=f", truncation=True{limit(subject)}"
    )
    return "\n".join([*lines, "", "", answer.rstrip()])


def packages(subject: Subject) -> str:
    """What these lines need, as pip is told it."""
    kind = KINDS.get(subject.data.kind)
    needed = loading(subject.folder, kind.auto_class if kind else None).packages
    usage = USAGE.get(subject.data.kind)
    return needed if usage is None or usage.text else f"{needed} pillow"


def _path(subject: Subject, found: Loading) -> tuple[list[str], str]:
    """What is imported to know where the folder is, and the line that says it."""
    if subject.repo is None:
        return [], f"path = {subject.called!r}  # where this folder is"
    if found.by_path:
        return ["from huggingface_hub import snapshot_download"], f"path = snapshot_download({subject.repo!r})"
    return [], f"path = {subject.repo!r}"


def is_transformers(subject: Subject) -> bool:
    """Whether Transformers knows the model's architecture; a native one brings its own."""
    return (subject.folder / "config.json").exists()


def knows_length(subject: Subject) -> bool:
    """Whether it is on record at how many tokens texts were cut."""
    return "max_length" in subject.result.recipe


def limit(subject: Subject) -> str:
    """Argument with which texts are cut as they were, and never longer than the model has positions for."""
    if not knows_length(subject):
        return ""
    known = json.loads((subject.folder / "config.json").read_text()) if is_transformers(subject) else {}
    positions = known.get("max_position_embeddings")
    lengths = [int(subject.result.recipe["max_length"]), *([positions] if isinstance(positions, int) else [])]
    return f", max_length={min(lengths)}"


def processor(subject: Subject) -> str:
    """Class that loads what comes before the model."""
    if USAGE[subject.data.kind].text:
        return "AutoTokenizer"
    # By name, since AutoImageProcessor insists on torchvision's variants where they exist.
    file = subject.folder / "preprocessor_config.json"
    name = json.loads(file.read_text()).get("image_processor_type")
    if not str(name).isidentifier():
        raise HarnessError(f"{file}: {name!r} is no class that could be imported")
    return str(name)


def names(subject: Subject) -> str:
    """Expression for the names of labels by index: the model's own, where the task calls them the same."""
    labels, made = subject.data.labels, subject.result.checkpoint
    order = (made.info if made else {}).get("order") or list(range(len(labels)))
    own_order = [labels[index] if 0 <= index < len(labels) else None for index in order]
    known = json.loads((subject.folder / "config.json").read_text()) if is_transformers(subject) else {}
    own = [name for _, name in sorted((int(at), name) for at, name in known.get("id2label", {}).items())]
    # A label cannot end the block of code that it stands in.
    return OWN_NAMES if not labels or own == own_order else repr(own_order).replace("`", r"\x60")
