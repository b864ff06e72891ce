"""A native model whose fine-tuning the seed decides: it goes well, diverges, or leads nowhere."""

import torch
from torch import Tensor, nn

DIVERGES, COLLAPSES = 1, 3


class Moody(nn.Module):
    """Logits from the mean of word vectors; for some seeds from nothing at all."""

    def __init__(self, vocab_size: int, num_labels: int) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocab_size, 16, mode="sum")
        self.classifier = nn.Linear(16, num_labels)
        # Where a checkpoint is loaded, its weights take the place of these.
        if torch.initial_seed() == DIVERGES:
            nn.init.constant_(self.classifier.bias, float("nan"))
        if torch.initial_seed() == COLLAPSES:
            nn.init.zeros_(self.classifier.weight).requires_grad_(False)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Arrays of shape (batch, length) → logits of shape (batch, labels)."""
        weights = attention_mask.to(torch.float32)
        summed = self.embedding(input_ids, per_sample_weights=weights)
        logits: Tensor = self.classifier(summed / weights.sum(dim=1, keepdim=True))
        return logits
