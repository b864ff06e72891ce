"""Two LSTM layers over word vectors; the mean of their states decides."""

from torch import Tensor, nn


class LSTMClassifier(nn.Module):
    """Logits from the mean of the top layer's states over all tokens that the mask keeps."""

    def __init__(self, vocab_size: int, num_labels: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab_size, 100)
        self.lstm = nn.LSTM(100, 256, num_layers=2, batch_first=True)
        self.classifier = nn.Linear(256, num_labels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """`input_ids` and `attention_mask` of shape (batch, length), padded right → logits (batch, labels).

        Padding stands behind the text, so no state of a kept token has seen any.
        """
        states, _ = self.lstm(self.embedding(input_ids))
        weights = attention_mask.to(states.dtype)[:, :, None]
        return self.classifier((states * weights).sum(dim=1) / weights.sum(dim=1).clamp(min=1))
