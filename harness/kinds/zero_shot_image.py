"""Zero-shot image classification: a model of pictures and texts says which of several texts fits a picture best.

Each of the data's labels is put into a text, as in Transformers' pipeline. A batch holds `pixel_values`, one picture a
row, and the tokens of all texts, which its rows share: every call reads them, whatever the number of pictures. A
backend answers with `logits_per_image` of shape (pictures, texts).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from harness.contracts.kind import Arrays, EncodedRows, Example
from harness.contracts.vetting import offline
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.image_classification import image_classification
from harness.kinds.zero_shot import SETTINGS, hypotheses, state_hypotheses

TEMPLATE = "This is a photo of {}."
"""Text about a label where the model declares none; it is that of Transformers' pipeline."""


@dataclass(frozen=True)
class Viewer(common.Paired):
    """The processor of a model that compares pictures with texts."""

    positions: int
    """Most tokens of a text."""

    @cached_property
    def texts(self) -> Arrays:
        """The tokens of the texts about the labels, of shape (texts, longest), int64."""
        settings = self.tokenizer.init_kwargs[SETTINGS]
        tokens = self.tokenizer(settings["hypotheses"], **settings["padding"])
        return {name: np.array(values, dtype=np.int64) for name, values in tokens.items()}


def _load_processor(folder: Path) -> Viewer:
    """Return the image processor and the tokenizer in `folder`, which notes how texts are padded.

    A SigLIP is trained on texts that are all filled up to its positions.
    """
    from transformers import AutoConfig

    images, tokenizer = image_classification.load_processor(folder), common.load_tokenizer(folder)
    with offline():
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    positions = config.get_text_config().max_position_embeddings
    fills = "siglip" in config.model_type
    padding = {"padding": "max_length", "max_length": positions} if fills else {"padding": True}
    tokenizer.init_kwargs[SETTINGS] = {**tokenizer.init_kwargs.get(SETTINGS, {}), "padding": padding}
    return Viewer(images, tokenizer, positions)


def _prepare(processor: Viewer, labels: tuple[str, ...], names: tuple[str, ...] | Mapping[str, str]) -> None:
    """Write the text about each label into the tokenizer; `names` may map texts to labels."""
    tokenizer = processor.tokenizer
    texts = hypotheses(tokenizer, TEMPLATE, labels, names)
    for text in texts:
        if (length := len(tokenizer(text)["input_ids"])) > processor.positions:
            raise HarnessError(
                f"the text {text[:80]!r} has {length} tokens, and the model reads {processor.positions}; give the "
                "label a shorter one, with Model(labels={text: label, …})"
            )
    tokenizer.init_kwargs[SETTINGS] |= {"hypotheses": texts}


def _collate(processor: Viewer, examples: list[Example]) -> Arrays:
    return image_classification.collate(processor.media, examples) | processor.texts


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    raise HarnessError(
        "zero-shot-image-classification uses a model as it is: leave recipe= out, or choose image-classification to "
        "train one"
    )


def _keep_logits(batch: Arrays, outputs: Arrays) -> Arrays:
    """Return the logits of each picture, without the vectors of pictures and texts."""
    return {"logits": common.output(outputs, "logits_per_image")}


def _remark(folder: Path, encoded: EncodedRows, outputs: Sequence[Arrays]) -> str:
    return state_hypotheses(encoded.processor.tokenizer)


zero_shot_image_classification = replace(
    image_classification,
    name="zero-shot-image-classification",
    auto_class="AutoModelForZeroShotImageClassification",
    load_processor=_load_processor,
    new_processor=None,
    prepare=_prepare,
    collate=_collate,
    shared=("input_ids", "attention_mask", "token_type_ids"),
    targets=_targets,
    reduce=_keep_logits,
    remark=_remark,
    native_arguments=None,
)
