"""Masks on their way to a model and back: of the inputs' size in training, of the image's own in answers."""

import numpy as np
import pytest
import torch
from transformers import SegformerConfig, SegformerForSemanticSegmentation, SegformerImageProcessorPil

from harness.contracts.kind import UNTAUGHT, EncodedRows
from harness.contracts.sources import Scratch
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.kinds import semantic_segmentation
from harness.training.train import _collate

PROCESSOR = SegformerImageProcessorPil(size={"height": 16, "width": 16})
MASK = np.zeros((8, 32), np.int64)
MASK[:, 16:] = 1
MASK[0, 0:2] = UNTAUGHT


def encoded(*masks):
    rows = [{"image": np.full((*mask.shape, 3), 9, np.uint8), "label": {"mask": mask}} for mask in masks]
    return EncodedRows(PROCESSOR, rows, ("image",), semantic_segmentation.encode(PROCESSOR, rows, ("image",), 0))


def test_targets_have_the_size_of_the_inputs():
    rows = encoded(MASK, MASK.T)
    examples = [
        own | taught for (own,), (taught,) in zip(rows.examples, semantic_segmentation.targets(rows), strict=True)
    ]
    batch = _collate(semantic_segmentation, PROCESSOR, examples, [])
    assert ((2, 16, 16), torch.int64) == (tuple(batch["labels"].shape), batch["labels"].dtype)
    assert [0, 1, UNTAUGHT] == batch["labels"][0].unique().tolist()
    assert 8 * 16 == int((batch["labels"][0] == 1).sum())
    config = SegformerConfig(num_encoder_blocks=1, depths=[1], sr_ratios=[1], hidden_sizes=[8], patch_sizes=[3],
                             strides=[2], num_attention_heads=[1], mlp_ratios=[2], decoder_hidden_size=8)  # fmt: skip
    assert torch.isfinite(SegformerForSemanticSegmentation(config)(**batch).loss)


def test_answers_are_counted_at_the_size_of_the_image():
    logits = np.zeros((1, 2, 4, 4), np.float32)
    logits[0, 1, :, 1:] = 5  # three quarters of the width
    rows = encoded(MASK)
    (confusion,) = semantic_segmentation.predict(rows, [{"logits": logits}])
    counts = {(own, truth): pixels for own, truth, pixels in confusion}
    assert 8 * 32 - 2 == sum(counts.values())
    assert 8 * 16 == counts[1, 1]
    assert 0 < counts[1, 0] < 8 * 16
    assert [[[0, 0, 126], [1, 1, 128]]] == semantic_segmentation.truths(rows)


def test_labels_of_a_model_are_those_of_the_task():
    logits = np.zeros((1, 3, 4, 4), np.float32)
    logits[0, 2, :, :2], logits[0, 0, :, 2:] = 5, 5
    inputs = Inputs(semantic_segmentation, encoded(MASK), ("ground", "road"), order=[1, -2, 0])
    (confusion,) = inputs.predictions([{"logits": logits}])
    assert [[0, 0, 126], [1, 1, 128]] == sorted(confusion)
    assert "road 128, ground 126" == inputs.describe(confusion)


def test_processors_of_other_models_are_refused():
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
    with pytest.raises(HarnessError, match="ViTImageProcessorPil has no post_process_semantic_segmentation"):
        semantic_segmentation.new_processor(
            Scratch(config={"model_type": "segformer"}, processor=processor), [], ("image",)
        )
