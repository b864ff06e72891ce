"""Pictures of fruit, which differ in their colours, and tiny models: of pictures and texts, and one that writes."""

import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    PreTrainedTokenizerFast,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    TrOCRConfig,
    TrOCRForCausalLM,
    VisionEncoderDecoderModel,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

COLOURS = {"apple": (200, 40, 40), "lemon": (220, 210, 60), "plum": (90, 40, 120)}
WORDS = ["<pad>", "<start>", "<end>", "<unk>", "this", "is", "a", "photo", "of", "one", "on", "the", "table", "."]
SIDE, LONGEST = 16, 64
LAYER = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}


def picture(rng: np.random.Generator, name: str, size: tuple[int, int] = (20, 24)) -> np.ndarray:
    """Return a picture of a fruit in noise, of this height and width."""
    pixels = rng.integers(90, 140, (*size, 3))
    y, x = rng.integers(2, size[0] // 2), rng.integers(2, size[1] // 2)
    pixels[y : y + 8, x : x + 10] = np.array(COLOURS[name]) + rng.integers(-30, 30, 3)
    return np.clip(pixels, 0, 255).astype(np.uint8)


def write_pictures(folder: Path, rows: int) -> None:
    """Write pictures into folders named by what they show."""
    rng = np.random.default_rng(0)
    for number in range(rows):
        name = [*COLOURS][number % len(COLOURS)]
        (folder / name).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(rng, name)).save(folder / name / f"{number}.png")


def write_captions(folder: Path, rows: int) -> list[str]:
    """Write pictures of two fruits side by side, and what each shows; return the latter."""
    rng, texts = np.random.default_rng(0), []
    folder.mkdir()
    for number in range(rows):
        first, second = rng.choice([*COLOURS], 2)
        pair = np.hstack([picture(rng, name, (20, 18)) for name in (first, second)])
        Image.fromarray(pair).save(folder / f"{number}.png")
        texts.append(f"one {first} and one {second}")
    lines = [json.dumps({"file_name": f"{number}.png", "text": text}) for number, text in enumerate(texts)]
    (folder / "metadata.jsonl").write_text("\n".join(lines))
    return texts


def tokenizer(words: list[str], **settings: object) -> PreTrainedTokenizerFast:
    """Return a lower-casing tokenizer of words that writes a start and an end."""
    vocabulary = {word: at for at, word in enumerate([*WORDS, *words])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.normalizer, core.pre_tokenizer = normalizers.Lowercase(), pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="<start> $A <end>", special_tokens=[("<start>", 1), ("<end>", 2)]
    )
    ends = {"pad_token": "<pad>", "bos_token": "<start>", "eos_token": "<end>", "unk_token": "<unk>"}
    return PreTrainedTokenizerFast(tokenizer_object=core, **ends, **settings)


def save_clip(folder: Path, *, siglip: bool = False, steps: int = 0) -> CLIPModel | SiglipModel:
    """Save a model that has looked at fruit for that many steps."""
    torch.manual_seed(0)
    names = ["input_ids"] if siglip else ["input_ids", "attention_mask"]
    words = tokenizer([*COLOURS], model_input_names=names)
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
    text = LAYER | ends | {"vocab_size": len(words), "max_position_embeddings": LONGEST}
    sight = LAYER | {"image_size": SIDE, "patch_size": 4}
    size = {"height": SIDE, "width": SIDE}
    model: CLIPModel | SiglipModel
    if siglip:
        model = SiglipModel(SiglipConfig(text_config=text | {"projection_size": 32}, vision_config=sight))
        images = SiglipImageProcessorPil(size=size)
    else:
        # Pooled where the token for the end stands, unless that is 2, which means the largest.
        model = CLIPModel(CLIPConfig(text_config=text | ends, vision_config=sight, projection_dim=16))
        images = CLIPImageProcessorPil(size=size, do_center_crop=False)
    if steps:
        _train(model, images, words, steps)
    model.eval().save_pretrained(folder)
    images.save_pretrained(folder)
    words.save_pretrained(folder)
    return model


def _train(model: torch.nn.Module, images: object, words: PreTrainedTokenizerFast, steps: int) -> None:
    rng, optimizer = np.random.default_rng(1), torch.optim.AdamW(model.parameters(), lr=2e-3)
    texts = words([f"a photo of one {name} on the table ." for name in COLOURS], return_tensors="pt", padding=True)
    for _ in range(steps):
        seen = images([picture(rng, name) for name in COLOURS], return_tensors="pt")  # type: ignore[operator]
        optimizer.zero_grad()
        model(**seen, **texts, return_loss=True).loss.backward()
        optimizer.step()


def save_writer(folder: Path) -> VisionEncoderDecoderModel:
    """Save a model that writes and has learnt nothing."""
    torch.manual_seed(0)
    words = tokenizer([*COLOURS, "and"])
    # With weights as small as Transformers draws them so few dimensions learn nothing.
    decoder = TrOCRConfig(
        vocab_size=len(words), max_position_embeddings=LONGEST, d_model=32, cross_attention_hidden_size=32,
        decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=64, dropout=0.0, init_std=0.1,
    )  # fmt: skip
    sight = ViTConfig(**LAYER, image_size=SIDE, patch_size=4, initializer_range=0.1)
    encoder = ViTModel(sight, add_pooling_layer=False)
    model = VisionEncoderDecoderModel(encoder=encoder, decoder=TrOCRForCausalLM(decoder))
    ends = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2, "decoder_start_token_id": 1}
    for name, token in ends.items():
        setattr(model.config, name, token)
    model.generation_config.update(**ends, max_length=10)
    model.eval().save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    words.save_pretrained(folder)
    return model
