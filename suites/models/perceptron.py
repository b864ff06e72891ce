"""Two layers on the columns of a table, which standardise the numbers first."""

import torch
from torch import Tensor, nn


class Perceptron(nn.Module):
    """Logits from columns of numbers."""

    def __init__(self, means: list[float], scales: list[float], num_labels: int, width: int = 32) -> None:
        super().__init__()
        self.register_buffer("means", torch.tensor(means))
        self.register_buffer("scales", torch.tensor(scales))
        self.layers = nn.Sequential(nn.Linear(len(means), width), nn.ReLU(), nn.Linear(width, num_labels))

    def forward(self, features: Tensor) -> Tensor:
        """`features` of shape (batch, columns) → logits of shape (batch, labels)."""
        return self.layers((features - self.means) / self.scales)
