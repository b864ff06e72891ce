"""Image classification: one label an image.

Batches hold `pixel_values` of shape (batch, channels, height, width), float32.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from harness.contracts.kind import Arrays, Example
from harness.contracts.sources import Row, Scratch, Source
from harness.contracts.vetting import offline
from harness.errors import HarnessError
from harness.kinds.classification import text_classification
from harness.kinds.pictures import fit_channels, image_array

PROCESSOR_FILES = ("preprocessor_config.json", "processor_config.json")
"""Where Transformers writes an image processor's settings: by itself, or from version 5 on with a tokenizer's."""


def _load_processor(folder: Path) -> Any:
    import transformers

    file = next((folder / name for name in PROCESSOR_FILES if (folder / name).is_file()), None)
    config = json.loads((folder / "config.json").read_text("utf-8")) if (folder / "config.json").is_file() else {}
    if file is None:
        raise HarnessError(
            f"{folder} has no {PROCESSOR_FILES[0]}: write it with save_pretrained of the image processor that the "
            "model was trained with; a model that reads text needs a task of another kind"
        )
    try:
        settings = json.loads(file.read_text("utf-8"))
        settings = settings.get("image_processor", settings)
        name = settings.get("image_processor_type") or settings.get("feature_extractor_type")
        with offline():
            processor = processor_class(name or _usual_processor(config)).from_pretrained(folder)
            settings = transformers.AutoConfig.from_pretrained(folder) if config else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, ImportError) as error:
        raise HarnessError(f"{file}: no usable image processor; save one beside the model: {error}") from error
    return _with_channels(processor, settings, str(file))


def _usual_processor(config: Mapping[str, Any]) -> str:
    """Return the class of image processor that Transformers pairs with the model's type."""
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    return str(next(iter(IMAGE_PROCESSOR_MAPPING_NAMES[config.get("model_type", "")].values())))


def processor_class(name: str) -> Any:
    """Return the class of image processor by its name of any version; ValueError if Transformers has none.

    By name, because AutoImageProcessor prefers torchvision's variants, whose pixels differ, where they exist.
    """
    import transformers

    plain = name.replace("FeatureExtractor", "ImageProcessor").removesuffix("Fast").removesuffix("Pil")
    for variant in (f"{plain}Pil", plain) if plain.endswith("ImageProcessor") else ():
        if hasattr(transformers, variant):
            return getattr(transformers, variant)
    raise ValueError(f"transformers {transformers.__version__} has no image_processor_type {name!r}")


def _with_channels(processor: Any, config: Any, place: str) -> Any:
    """Return the processor with `num_channels`, those of the model; HarnessError if it does not fit them."""
    parts = (config, *(getattr(config, name, None) for name in ("vision_config", "backbone_config")))
    channels = next((own for part in parts if (own := getattr(part, "num_channels", None)) is not None), None)
    if channels is None:
        return processor
    for name in ("image_mean", "image_std") if getattr(processor, "do_normalize", True) else ():
        values = getattr(processor, name, None)
        if isinstance(values, list | tuple) and len(values) != channels:
            raise HarnessError(
                f"{place}: {name} has {len(values)} values, the model {channels} channels (config.json: num_channels); "
                "give both the same number"
            )
    processor.num_channels = channels
    return processor


def _new_processor(source: Source, rows: Sequence[Row], inputs: tuple[str, ...]) -> Any:
    """Return the processor that a Scratch declares; for a native module one that keeps the size of the first image."""
    import transformers

    if isinstance(source, Scratch):
        settings, place = dict(source.processor), "Scratch(processor=…)"
        try:
            processor = processor_class(settings.pop("image_processor_type", ""))(**settings)
        except ValueError as error:
            raise HarnessError(f"{place}: {error}") from error
        return _with_channels(processor, transformers.AutoConfig.for_model(**source.config), place)
    height, width, channels = image_array(rows[0][inputs[0]]).shape
    size = {"height": height, "width": width}
    return transformers.ViTImageProcessorPil(do_resize=True, size=size, num_channels=channels)


def _encode(processor: Any, rows: Sequence[Row], inputs: tuple[str, ...], max_length: int) -> list[list[Example]]:
    processor = getattr(processor, "media", processor)  # of a pair with a tokenizer
    channels = getattr(processor, "num_channels", None)
    try:
        images = [fit_channels(image_array(row[inputs[0]]), channels) for row in rows]
    except ValueError as error:
        expected = f"; the model reads {channels} channels" if channels else ""
        raise HarnessError(f"an image of column {inputs[0]}: {error}{expected}") from error
    # torchvision's classes return torch's tensors only.
    tensors = "np" if type(processor).__name__.endswith("Pil") else "pt"
    pixels = processor(images, return_tensors=tensors, input_data_format="channels_last")["pixel_values"]
    return [[{"pixel_values": np.asarray(image, dtype=np.float32)}] for image in pixels]


def _collate(processor: Any, examples: list[Example]) -> Arrays:
    return {"pixel_values": np.stack([np.asarray(row["pixel_values"], dtype=np.float32) for row in examples])}


image_classification = replace(
    text_classification,
    name="image-classification",
    auto_class="AutoModelForImageClassification",
    most_inputs=1,
    media="image",
    load_processor=_load_processor,
    new_processor=_new_processor,
    encode=_encode,
    collate=_collate,
    axes=("batch",),
)
