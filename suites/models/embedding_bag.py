"""The mean of word vectors, and a linear layer on it: what any larger text classifier should be compared with."""

import torch
from torch import Tensor, nn


class EmbeddingBagClassifier(nn.Module):
    """Logits from the mean of the embeddings of all words that the mask keeps."""

    def __init__(self, vocab_size: int, num_labels: int, width: int = 64) -> None:
        super().__init__()
        self.embedding = nn.EmbeddingBag(vocab_size, width, mode="sum")
        self.classifier = nn.Linear(width, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """`input_ids` and `attention_mask` of shape (batch, length) → logits of shape (batch, labels)."""
        weights = attention_mask.to(torch.float32)
        # A weighted sum over a rectangle rather than a mean over offsets: it exports with a free batch and length.
        summed = self.embedding(input_ids, per_sample_weights=weights)
        return self.classifier(summed / weights.sum(dim=1, keepdim=True).clamp(min=1))
