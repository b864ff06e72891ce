"""Tiny causal language models with random weights, and a tokenizer of bytes that lacks a token for padding."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

END = "<end>"
TEMPLATE = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] }}\n{% endfor %}assistant:"
POSITIONS = 64
WIDE = 0.4
"""Standard deviation of the weights: with Transformers' own, each token would follow itself."""


def byte_tokenizer(**settings: str) -> PreTrainedTokenizerFast:
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE({text: at for at, text in enumerate([END, *alphabet])}, []))
    core.pre_tokenizer, core.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    core.add_special_tokens([END])
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token=END, **settings)


def save_writer(out: Path, family: str = "llama", positions: int = POSITIONS, **settings: str) -> Path:
    """Save a model of one layer for bytes; return its folder."""
    torch.manual_seed(0)
    tokenizer = byte_tokenizer(**settings)
    ends = {"vocab_size": len(tokenizer), "bos_token_id": 0, "eos_token_id": 0, "initializer_range": WIDE}
    if family == "gpt2":
        config = GPT2Config(**ends, n_embd=32, n_layer=1, n_head=4, n_positions=positions)
        model: torch.nn.Module = GPT2LMHeadModel(config)
    else:
        sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
        config = LlamaConfig(**ends, **sizes, num_key_value_heads=2, max_position_embeddings=positions)
        model = LlamaForCausalLM(config)
    model.eval().save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out
