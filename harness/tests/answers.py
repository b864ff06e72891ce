"""Toy rows and the evaluations of backends that answered them."""

from dataclasses import replace

import numpy as np

from harness.contracts.kind import EncodedRows
from harness.data.inputs import Inputs
from harness.evaluation.predictions import Evaluation
from harness.kinds import image_classification, text_classification


def encoded(kind, examples, labels=()):
    """Rows with these examples and labels."""
    return Inputs(kind, EncodedRows(None, [{"label": label} for label in labels], ("column",), examples))


def images(rows=20, labels=()):
    """Rows of one random image each."""
    values = np.random.default_rng(0).random((rows, 1, 2, 2), dtype=np.float32)
    return encoded(image_classification, [[{"pixel_values": value}] for value in values], labels)


def texts(lengths, axes=("batch", "sequence")):
    """Rows of tokens, padded on the right with zeros and a mask."""

    def collate(processor, rows):
        longest = max(len(row["input_ids"]) for row in rows)
        return {
            name: np.array([[*row[name], *[0] * (longest - len(row[name]))] for row in rows], dtype=np.int64)
            for name in ("input_ids", "attention_mask")
        }

    kind = replace(text_classification, collate=collate, axes=axes)
    return encoded(kind, [[{"input_ids": [5] * length, "attention_mask": [1] * length}] for length in lengths])


def windows(counts):
    """Rows of so many windows each; a prediction is the sum of a row's logits."""
    values = iter(np.random.default_rng(0).random((sum(counts), 1, 2, 2), dtype=np.float32))
    examples = [[{"pixel_values": next(values)} for _ in range(count)] for count in counts]
    kind = replace(image_classification, predict=lambda rows, outputs: [int(row["logits"].sum()) for row in outputs])
    return encoded(kind, examples, labels=counts)


def evaluation(single=((1.0, 0.0), (0.0, 1.0)), padded=((1.0, 0.0), (0.0, 1.0)), predictions=(0, 1), score=1.0):
    """The evaluation of a backend with these logits, one entry per row."""
    return Evaluation(
        single=[{"logits": np.array([row], dtype=np.float32)} for row in single],
        padded=[{"logits": np.array([row], dtype=np.float32)} for row in padded],
        predictions=list(predictions),
        score=score,
        other_scores={},
    )


def generated(*rows):
    """The evaluation of a backend that generated these tokens."""
    single = [{"sequences": np.array([row])} for row in rows]
    return Evaluation(single=single, padded=[], predictions=[0] * len(rows), score=1.0, other_scores={})
