"""Boxes on their way to a model and back: shares of the image in training, its own pixels in answers."""

import numpy as np
import pytest
import torch
from transformers import YolosConfig, YolosForObjectDetection, YolosImageProcessorPil

from harness.contracts.kind import EncodedRows
from harness.contracts.sources import Scratch
from harness.data.inputs import Inputs
from harness.errors import HarnessError
from harness.kinds import object_detection
from harness.training.train import _collate

CONFIG = {
    "model_type": "yolos", "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16,
    "image_size": [16, 16], "patch_size": 4, "num_detection_tokens": 3,
}  # fmt: skip
PROCESSOR = YolosImageProcessorPil(size={"height": 16, "width": 16})
LABEL = {"boxes": [[10, 5, 30, 15], [0, 0, 40, 20]], "labels": [1, 0], "crowd": [False, True], "size": [20, 40]}


def encoded(*labels):
    """Images of 20 x 40 pixels."""
    rows = [{"image": np.full((20, 40, 3), 9, np.uint8), "label": label} for label in labels]
    examples = object_detection.encode(PROCESSOR, rows, ("image",), 0)
    return EncodedRows(PROCESSOR, rows, ("image",), examples)


def outputs(logits, boxes):
    return [{"logits": np.array([logits], np.float32), "pred_boxes": np.array([boxes], np.float32)}]


def test_targets_are_shares_of_the_image_without_crowds():
    ((target,),) = object_detection.targets(encoded(LABEL))
    np.testing.assert_allclose([1, 0.5, 0.5, 0.5, 0.5], target["labels"])


def test_batches_hold_the_boxes_of_each_image():
    empty = LABEL | {"boxes": [], "labels": [], "crowd": []}
    rows = encoded(LABEL, empty)
    examples = [own | taught for (own,), (taught,) in zip(rows.examples, object_detection.targets(rows), strict=True)]
    batch = _collate(object_detection, PROCESSOR, examples, [])
    assert (2, 3, 16, 16) == tuple(batch["pixel_values"].shape)
    assert [[1], []] == [one["class_labels"].tolist() for one in batch["labels"]]
    assert [[[0.5, 0.5, 0.5, 0.5]], []] == [one["boxes"].tolist() for one in batch["labels"]]
    assert torch.int64 == batch["labels"][1]["class_labels"].dtype
    model = YolosForObjectDetection(YolosConfig(**CONFIG | {"num_labels": 2}))
    assert torch.isfinite(model(**batch).loss)


def test_answers_are_in_the_pixels_of_the_image():
    answer = outputs([[0, 5, 0], [5, 0, 0]], [[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 1.0]])
    (boxes,) = object_detection.predict(encoded(LABEL), answer)
    expected = np.exp(5) / (np.exp(5) + 2)
    np.testing.assert_allclose([[1, expected, 10, 5, 30, 15], [0, expected, 0, 0, 20, 20]], boxes, rtol=1e-5)


def test_truths_say_what_is_a_crowd():
    assert [[[1, 0, 10, 5, 30, 15], [0, 1, 0, 0, 40, 20]]] == object_detection.truths(encoded(LABEL))


def test_labels_of_a_model_are_those_of_the_task():
    answer = outputs([[0, 5, 0], [5, 0, 0]], [[0.5, 0.5, 0.5, 0.5], [0.25, 0.5, 0.5, 1.0]])
    inputs = Inputs(object_detection, encoded(LABEL), ("cup", "jug"), order=[-1, 0])
    (boxes,) = inputs.predictions(answer)
    assert [0, -1] == [label for label, *_ in boxes]
    assert "cup 0.99 at 10.0 5.0 30.0 15.0, (a label of no row) 0.99 at 0.0 0.0 20.0 20.0" == inputs.describe(boxes)
    assert "jug at 10.0 5.0 30.0 15.0, cup at 0.0 0.0 40.0 20.0" == inputs.describe(inputs.truths()[0])
    assert "(no box)" == inputs.describe([])


def test_images_of_every_size_are_stretched_to_one():
    rows = [{"image": np.zeros((height, 40, 3), np.uint8)} for height in (20, 50)]
    examples = object_detection.encode(PROCESSOR, rows, ("image",), 0)
    assert {(3, 16, 16)} == {example["pixel_values"].shape for (example,) in examples}


def test_processors_that_keep_proportions_are_refused(tmp_path):
    YolosConfig(**CONFIG).save_pretrained(tmp_path)
    YolosImageProcessorPil(size={"shortest_edge": 16, "longest_edge": 32}).save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match=r'keeps the proportions of images .* set size=\{"height": …, "width": …\}'):
        object_detection.load_processor(tmp_path)


def test_processors_of_other_models_are_refused():
    processor = {"image_processor_type": "ViTImageProcessor", "size": {"height": 16, "width": 16}}
    with pytest.raises(HarnessError, match="ViTImageProcessorPil has no post_process_object_detection"):
        object_detection.new_processor(Scratch(config=CONFIG, processor=processor), [], ("image",))


def test_channels_may_be_those_of_the_backbone():
    config = {"model_type": "rt_detr", "backbone_config": {"model_type": "rt_detr_resnet", "num_channels": 3}}
    processor = {"image_processor_type": "RTDetrImageProcessor", "size": {"height": 16, "width": 16}}
    made = object_detection.new_processor(Scratch(config=config, processor=processor), [], ("image",))
    ((example,),) = object_detection.encode(made, [{"image": np.zeros((8, 8), np.uint8)}], ("image",), 0)
    assert (3, 16, 16) == example["pixel_values"].shape


def test_backend_without_boxes_is_named():
    with pytest.raises(HarnessError, match="the backend answered logits; this kind reads `pred_boxes`"):
        object_detection.reduce({}, {"logits": np.zeros((1, 3, 2))})
