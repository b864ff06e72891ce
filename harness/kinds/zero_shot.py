"""Zero-shot classification: a model of natural language inference says which hypothesis a text entails.

Each of the data's labels is put into a hypothesis. A row is one entry of the batch for each of them, the text and the
hypothesis as a pair, and its answer is the label with the largest logit for entailment, as in Transformers' pipeline.
Arrays as for text classification.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import checkpoint
from harness.contracts.kind import Arrays, EncodedRows, Example
from harness.contracts.sources import Row
from harness.errors import HarnessError
from harness.kinds import common
from harness.kinds.classification import text_classification

TEMPLATE = "This example is {}."
"""Hypothesis about a label where the model declares none; it is that of Transformers' pipeline."""
SETTINGS = "shipbench_zero_shot"
"""Key of tokenizer_config.json under which hypotheses and the place of entailment travel with a checkpoint."""


def entailment_places(labels: Sequence[str]) -> list[int]:
    """Return the places of a head's labels that mean entailment."""
    return [place for place, label in enumerate(labels) if label.lower().startswith("entail")]


def _load_tokenizer(folder: Path) -> Any:
    tokenizer, labels = common.load_tokenizer(folder), checkpoint.read_labels(folder)
    if len(places := entailment_places(labels)) != 1:
        raise HarnessError(
            f"{folder / 'config.json'}: its head answers {', '.join(labels[:5])}; zero-shot-classification needs "
            "a model of natural language inference, one of whose labels is called entailment in id2label"
        )
    tokenizer.init_kwargs[SETTINGS] = {**tokenizer.init_kwargs.get(SETTINGS, {}), "entailment": places[0]}
    return tokenizer


def hypotheses(
    tokenizer: Any, template: str, labels: tuple[str, ...], names: tuple[str, ...] | Mapping[str, str]
) -> list[str]:
    """Return a text about each label: the template's, or that which `names` maps to it.

    HarnessError if labels and texts do not belong to each other one by one, or if a model reads two texts alike.
    """
    texts = {label: template.format(label) for label in labels}
    if names:
        given = {label: text for text, label in names.items()} if isinstance(names, Mapping) else {}
        if {*given} != {*labels} or len(given) != len(names):
            raise HarnessError(
                f"Model(labels=…) must map a hypothesis to each label, as in "
                f"labels={{'This text is about {labels[0]}.': {labels[0]!r}}}; the labels are {', '.join(labels[:10])}"
            )
        texts = {label: given[label] for label in labels}
    read = dict[tuple[int, ...], str]()
    for label, text in texts.items():
        if (tokens := tuple(tokenizer(text)["input_ids"])) in read:
            first = texts[read[tokens]]
            raise HarnessError(
                f"the tokenizer makes the same tokens of {first!r} and {text!r}, so that no answer can tell "
                f"{read[tokens]!r} from {label!r}; give them texts that differ, with Model(labels={{text: label, …}})"
            )
        read[tokens] = label
    return list(texts.values())


def _prepare(tokenizer: Any, labels: tuple[str, ...], names: tuple[str, ...] | Mapping[str, str]) -> None:
    """Write the hypothesis of each label into the tokenizer; `names` may map hypotheses to labels."""
    tokenizer.init_kwargs[SETTINGS] |= {"hypotheses": hypotheses(tokenizer, TEMPLATE, labels, names)}


def _encode(tokenizer: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    texts = tokenizer.init_kwargs[SETTINGS]["hypotheses"]
    pairs = [{inputs[0]: row[inputs[0]], "": hypothesis} for row in rows for hypothesis in texts]
    entries = [entry for (entry,) in common.encode(tokenizer, pairs, (inputs[0], ""), max_length)]
    return [entries[at : at + len(texts)] for at in range(0, len(entries), len(texts))]


def _targets(encoded: EncodedRows) -> list[list[Example]]:
    raise HarnessError(
        "zero-shot-classification uses a model as it is: leave recipe= out, or choose text-classification to train one"
    )


def _predict(encoded: EncodedRows, outputs: Sequence[Arrays]) -> list[int]:
    """Return the index of the label with the largest logit for entailment, of shape (labels, 3); a tie: the first."""
    place = encoded.processor.init_kwargs[SETTINGS]["entailment"]
    return [int(np.argmax(common.output(row, "logits")[:, place])) for row in outputs]


def state_hypotheses(tokenizer: Any) -> str:
    """Return the hypotheses in words."""
    texts = tokenizer.init_kwargs[SETTINGS]["hypotheses"]
    return f"the hypotheses are {'; '.join(map(repr, texts[:5]))}{'; …' if len(texts) > 5 else ''}"


def _remark(folder: Path, encoded: EncodedRows, outputs: Sequence[Arrays]) -> str:
    return state_hypotheses(encoded.processor)


zero_shot_classification = replace(
    text_classification,
    name="zero-shot-classification",
    export="text-classification",
    most_inputs=1,
    load_processor=_load_tokenizer,
    new_processor=None,
    prepare=_prepare,
    encode=_encode,
    targets=_targets,
    predict=_predict,
    remark=_remark,
    native_arguments=None,
)
