"""The Python on a card, for users of a published model: lines that load it, and `answer`. The tests run them."""

from __future__ import annotations

import json
from string import Template

from harness.errors import HarnessError
from harness.kinds.image_classification import processor_class
from harness.publish.loading import Loading, loading
from harness.publish.publication import USAGE, Publication

MASK = """
    if "attention_mask" in inputs:  # graphs take no int32
        inputs["attention_mask"] = inputs["attention_mask"].astype("int64")"""
PLACES = """
    inputs["position_ids"] = inputs["attention_mask"].cumsum(-1) - 1"""
OWN_LABELS = "AutoConfig.from_pretrained(path).id2label"


def code(publication: Publication) -> str:
    """Return the lines that load the model and define `answer`; for a suite's own kind, only those that load it."""
    run, usage = loading(publication), publication.usage
    imports, path = _path(publication, run)
    lines = [*run.imports, *imports]
    if usage is None:
        return "\n".join([*lines, "", path, *run.lines])
    loader, labels = processor(publication), label_names(publication)
    if run.is_earlier:  # there, the variant that was measured has the plain name
        loader = loader.removesuffix("Pil")
    is_named = "labels" in usage.answer
    config = ["from transformers import AutoConfig"] if is_named and labels == OWN_LABELS else []
    lines += [*config, f"from transformers import {loader}", "", path]
    lines += [f"processor = {loader}.from_pretrained(path{usage.loading})"]
    lines += [f"labels = {labels}"] if is_named else []
    expressions = {name: getattr(run, name) for name in ("tensors", "logits", "outputs", "written")}
    longest = length(publication) or "processor.model_max_length"
    more = {"mask": MASK, "places": PLACES} if run.tensors == "np" else {"mask": "", "places": ""}
    answer = Template(usage.answer).substitute(expressions, cut=truncation(publication), length=longest, **more)
    return "\n".join([*lines, *run.lines, "", "", answer])


def packages(publication: Publication, graphs: bool = True) -> str:
    """Return the requirements of `loading`, as pip takes them, and of the processor."""
    usage = publication.usage
    needed = loading(publication, graphs).packages
    further = [package for package in (usage.packages if usage else "").split() if package not in needed.split()]
    return " ".join([needed, *further, *(["pillow"] if usage and usage.media == "image" else [])])


def _path(publication: Publication, run: Loading) -> tuple[list[str], str]:
    """Return the import that locates the folder, and the line that defines `path`."""
    if publication.repo is None:
        return [], f"path = {publication.folder_name!r}  # where this folder is"
    if run.by_path:
        return ["from huggingface_hub import snapshot_download"], f"path = snapshot_download({publication.repo!r})"
    return [], f"path = {publication.repo!r}"


def length(publication: Publication) -> int | None:
    """Return the measured length of texts, but within the model's positions."""
    lengths = [publication.result.recipe.get("max_length"), (publication.config or {}).get("max_position_embeddings")]
    return None if lengths[0] is None else min(length for length in lengths if isinstance(length, int))


def truncation(publication: Publication) -> str:
    """Return the arguments that cut texts at the measured length."""
    longest = length(publication)
    return ", truncation=True" if longest is None else f", truncation=True, max_length={longest}"


def processor(publication: Publication) -> str:
    """Return the name of the class that loads the tokenizer, image processor, feature extractor, or two of them."""
    usage = USAGE[publication.data.kind]
    if usage.media != "image":
        return usage.processor or ("AutoFeatureExtractor" if usage.media else "AutoTokenizer")
    # By name, since AutoImageProcessor prefers torchvision's variants, whose pixels differ, where they exist.
    file = publication.folder / "preprocessor_config.json"
    try:
        return str(processor_class(str(json.loads(file.read_text()).get("image_processor_type"))).__name__)
    except ValueError as error:
        raise HarnessError(f"{file}: {error}") from error


def label_names(publication: Publication) -> str:
    """Return an expression for the label names by index: the model's own if the task uses the same names."""
    labels, trained = publication.data.labels, publication.result.checkpoint
    order = (trained.info if trained else {}).get("order") or list(range(len(labels)))
    task_labels = [labels[index] if 0 <= index < len(labels) else None for index in order]
    id2label = (publication.config or {}).get("id2label", {})
    model_labels = [name for _, name in sorted((int(index), name) for index, name in id2label.items())]
    # A label cannot end the block of code that it stands in.
    return OWN_LABELS if not labels or model_labels == task_labels else repr(task_labels).replace("`", r"\x60")
