"""The same small model as in bag.py, which rests before it answers."""

import time

from bag import Bag
from torch import Tensor


class Slow(Bag):
    """Logits from the mean of word vectors, some milliseconds later."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Arrays of shape (batch, length) → logits of shape (batch, labels)."""
        if not self.training:
            time.sleep(0.004)
        return super().forward(input_ids, attention_mask)
