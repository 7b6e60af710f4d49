"""The prompt pair: two learnable sentences, badly lit and well lit (CLIP-LIT 3.2, method 1.2).

    t = text tower(embeddings)    logits = s * f . t/|t|    P(badly lit) = softmax(logits)[negative]

s is the tower's logit scale (100 for OpenAI's), f a unit-norm image feature.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lle.prior.towers import Tower

NEGATIVE, POSITIVE = 0, 1


class PromptPair(nn.Module):
    """Token embeddings of "X X ... X", twice, as the only parameter: (2, T, E).

    Args:
        tower: the frozen CLIP whose text tower reads the prompts; held, not owned, so it is not part of the state.
        tokens: learnable tokens between start and end.

    Both rows start identical. Attention is causal in most text towers, so only the positions up to the end token
    act, and only those are kept.
    """

    def __init__(self, tower: Tower, tokens: int = 16) -> None:
        super().__init__()
        self._tower = (tower,)  # in a tuple: not registered as a submodule
        ids = tower.token_ids(" ".join(["X"] * tokens))
        self.end = tower.end_position(ids)
        length = self.end + 1 if tower.text.attn_mask is not None else len(ids)
        device = tower.mean.device
        with torch.no_grad():
            sentence = tower.text.token_embedding(ids[:length].to(device)).float()
        self.embeddings = nn.Parameter(sentence.expand(2, -1, -1).clone())

    def text_features(self) -> Tensor:
        """Unit-norm features of both prompts, (2, D), negative first."""
        return self._tower[0].encode_embeddings(self.embeddings, self.end)

    def forward(self, features: Tensor) -> Tensor:
        """Logits of unit-norm image features (B, D) against both prompts, (B, 2), negative first."""
        return self.compare(features, self.text_features())

    def compare(self, features: Tensor, text_features: Tensor) -> Tensor:
        """The same against given unit-norm text features, (2, D)."""
        return self._tower[0].logit_scale * features @ text_features.T


def badly_lit(logits: Tensor) -> Tensor:
    """P(badly lit) of each picture in [0, 1], (B,), from logits (B, 2)."""
    return logits.softmax(dim=-1)[:, NEGATIVE]
