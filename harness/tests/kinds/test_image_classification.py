"""Image processors of every age, channels of models, and pixels that reach a model."""

import json

import numpy as np
import pytest
from transformers import BertConfig, CLIPImageProcessorPil, ResNetConfig, ViTConfig, ViTImageProcessorPil

from harness.contracts.sources import Folder, Native, Scratch
from harness.errors import HarnessError
from harness.kinds import image_classification
from harness.spec import Task

GREY = np.array([[0, 100], [200, 255]], dtype=np.uint8)
COLOUR = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
PLAIN = {"do_resize": False, "do_normalize": False}


def folder_of(tmp_path, config=None, processor=None, **changed):
    """A checkpoint's folder with its settings; `changed` edits preprocessor_config.json, None removes a key."""
    (config or ViTConfig()).save_pretrained(tmp_path)
    (processor or ViTImageProcessorPil(size={"height": 8, "width": 8})).save_pretrained(tmp_path)
    file = tmp_path / "preprocessor_config.json"
    settings = json.loads(file.read_text()) | changed
    file.write_text(json.dumps({name: value for name, value in settings.items() if value is not None}))
    return tmp_path


def load(folder):
    return image_classification.load_processor(folder)


def pixels(processor, *arrays):
    examples = image_classification.encode(processor, [{"image": array} for array in arrays], ("image",), 0)
    return image_classification.collate(processor, [example for row in examples for example in row])["pixel_values"]


@pytest.mark.parametrize(
    "changed",
    [
        {},
        {"image_processor_type": None, "feature_extractor_type": "ViTFeatureExtractor", "size": 8},  # of 2021
        {"image_processor_type": "ViTFeatureExtractor", "size": 8},  # of 2022
        {"image_processor_type": None, "size": 8},
        {"image_processor_type": "ViTImageProcessorFast", "data_format": "channels_first"},
        {"image_processor_type": "ViTImageProcessorPil"},
        {"_processor_class": "CLIPProcessor", "processor_class": "CLIPProcessor"},
    ],
)
def test_processors_of_every_age_give_the_same_pixels(changed, tmp_path):
    own = load(folder_of(tmp_path, **changed))
    assert type(own) is ViTImageProcessorPil
    image = np.random.default_rng(0).integers(0, 255, (20, 20, 3), dtype=np.uint8)
    expected = ViTImageProcessorPil(size={"height": 8, "width": 8})
    assert np.array_equal(pixels(expected, image), pixels(own, image))


def test_type_of_the_model_names_a_missing_processor_type(tmp_path):
    folder = folder_of(tmp_path, ResNetConfig(), image_processor_type=None, size={"shortest_edge": 8}, crop_pct=0.9)
    assert "ConvNextImageProcessorPil" == type(load(folder)).__name__


def test_processor_of_transformers_5_lies_in_processor_config(tmp_path):
    folder = folder_of(tmp_path, processor=CLIPImageProcessorPil(size={"shortest_edge": 8}))
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "processor_config.json").write_text(json.dumps({"image_processor": settings}))
    (folder / "preprocessor_config.json").unlink()
    assert {"shortest_edge": 8} == load(folder).size


def test_text_model_has_no_image_processor(tmp_path):
    BertConfig().save_pretrained(tmp_path)
    with pytest.raises(HarnessError, match=r"has no preprocessor_config.json: .*another kind"):
        load(tmp_path)


@pytest.mark.parametrize("name", ["Wav2Vec2FeatureExtractor", "NoneSuchImageProcessor", "AutoModel"])
def test_processor_that_reads_no_images_is_named(name, tmp_path):
    folder = folder_of(tmp_path, image_processor_type=None, feature_extractor_type=name)
    with pytest.raises(
        HarnessError, match=r"preprocessor_config.json: no usable image processor.*: transformers .* has no"
    ):
        load(folder)


def test_mean_of_other_channels_than_the_model_is_refused(tmp_path):
    folder = folder_of(tmp_path, ViTConfig(num_channels=1))
    with pytest.raises(
        HarnessError, match=r"image_mean has 3 values, the model 1 channels \(config.json: num_channels\)"
    ):
        load(folder)


def test_channels_survive_saving(tmp_path):
    config, processor = ViTConfig(num_channels=1), ViTImageProcessorPil(image_mean=[0.5], image_std=[0.5])
    own = load(folder_of(tmp_path / "a", config, processor))
    own.save_pretrained(tmp_path / "b")
    assert 1 == load(tmp_path / "b").num_channels


@pytest.mark.parametrize(
    ("image", "channels", "expected"),
    [
        (GREY, None, GREY[None]),
        (GREY, 1, GREY[None]),
        (GREY, 3, np.stack([GREY] * 3)),
        (np.stack([GREY] * 3, axis=-1), 1, GREY[None]),  # a grey image that is saved in colour
        (COLOUR, 3, COLOUR.transpose(2, 0, 1)),
        (GREY > 99, 1, np.array([[[0, 255], [255, 255]]])),
    ],
)
def test_images_get_the_channels_of_the_model(image, channels, expected):
    processor = ViTImageProcessorPil(**PLAIN, num_channels=channels)
    assert np.allclose(expected / 255, pixels(processor, image)[0], atol=1e-6)


def test_colour_is_not_mixed_to_grey_silently():
    with pytest.raises(HarnessError, match=r"an image of column image: it has 3 channels; the model reads 1 channels"):
        pixels(ViTImageProcessorPil(**PLAIN, num_channels=1), COLOUR)


def test_scratch_declares_its_channels():
    settings = {"image_processor_type": "ViTImageProcessor", "image_mean": [0.5], "image_std": [0.5]}
    source = Scratch(config={"model_type": "vit", "num_channels": 1}, processor=settings)
    assert 1 == image_classification.processor(source, None, [], ("image",)).num_channels


@pytest.mark.parametrize("name", ["", "ViTImageProcesor"])
def test_unknown_processor_of_a_scratch_is_named(name):
    source = Scratch(config={"model_type": "vit"}, processor={"image_processor_type": name})
    with pytest.raises(
        HarnessError, match=rf"Scratch\(processor=…\): transformers .* has no image_processor_type '{name}'"
    ):
        image_classification.processor(source, None, [], ("image",))


@pytest.mark.parametrize(("image", "channels"), [(GREY, 1), (COLOUR, 3)])
def test_native_module_gets_the_channels_of_the_first_image(image, channels):
    processor = image_classification.processor(Native("own.py:Net"), None, [{"image": image}], ("image",))
    assert (channels, {"height": 2, "width": 2}) == (processor.num_channels, processor.size)


def test_two_image_columns_are_refused():
    with pytest.raises(
        HarnessError, match=r"inputs= names 2 columns \(left, right\); image-classification reads at most 1"
    ):
        Task(name="toy", kind="image-classification", dataset=Folder("own"), inputs=("left", "right"), label="label",
             metric="accuracy")  # fmt: skip
