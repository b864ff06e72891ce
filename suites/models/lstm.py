"""Two LSTM layers over word vectors; the state after the last word decides."""

import torch
from torch import Tensor, nn


class LSTMClassifier(nn.Module):
    """Logits from the top layer's output at the last token that the mask keeps."""

    def __init__(self, vocab_size: int, num_labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 100)
        self.lstm = nn.LSTM(100, 256, num_layers=2, batch_first=True)
        self.classifier = nn.Linear(256, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """`input_ids` and `attention_mask` of shape (batch, length), padded right → logits (batch, labels)."""
        states, _ = self.lstm(self.embedding(input_ids))
        last = attention_mask.sum(dim=1) - 1
        return self.classifier(states[torch.arange(states.shape[0]), last])
