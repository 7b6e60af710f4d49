"""What judges the light by two learned sentences, badly lit and well lit (CLIP-LIT 3.2, RAVE; method 1.2 and 1.6).

    logits = s * f . t/|t|    P(badly lit) = softmax(logits)[negative]

s is the tower's logit scale (100 for OpenAI's), f a unit-norm image feature. A prompt pair learns the input of the text
tower, t = text tower(embeddings); a latent pair learns t itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lle.prior.towers import Tower

NEGATIVE, POSITIVE = 0, 1


class LearnedPair(nn.Module):
    """Base of both pairs: compares image features with the two text features.

    Args:
        tower: the frozen CLIP; held, not owned, so it is not part of the state.
    """

    def __init__(self, tower: Tower) -> None:
        super().__init__()
        self._tower = (tower,)  # in a tuple: not registered as a submodule

    def text_features(self) -> Tensor:
        """Unit-norm features of both sentences, (2, D), negative first."""
        raise NotImplementedError

    def forward(self, features: Tensor) -> Tensor:
        """Logits of unit-norm image features (B, D) against both sentences, (B, 2), negative first."""
        return self.compare(features, self.text_features())

    def compare(self, features: Tensor, text_features: Tensor) -> Tensor:
        """The same against given unit-norm text features, (2, D)."""
        return self._tower[0].logit_scale * features @ text_features.T

    def penalty(self, features: Tensor) -> Tensor:
        """P(badly lit) of unit-norm image features (B, D), in [0, 1], (B,); the pair itself gets no gradient."""
        with torch.no_grad():
            text_features = self.text_features()
        return badly_lit(self.compare(features, text_features).float())


class PromptPair(LearnedPair):
    """Token embeddings of two sentences as the only parameter: (2, T, E).

    Args:
        tower: the frozen CLIP whose text tower reads the prompts.
        tokens: learnable tokens between start and end.
        words: what the sentences begin with, badly and well taken, such as "a hazy photo", "a clear photo"; the rest is
            "X X ... X". Without words both rows start identical.

    Raises:
        ValueError: words of more tokens.

    Attention is causal in most text towers, so only the positions up to the end token
    act, and only those are kept.
    """

    def __init__(self, tower: Tower, tokens: int = 16, words: tuple[str, str] = ("", "")) -> None:
        super().__init__(tower)
        ids = torch.stack([_token_ids(tower, each, tokens) for each in words])
        self.end = tower.end_position(ids[0])
        length = self.end + 1 if tower.text.attn_mask is not None else ids.shape[1]
        device = tower.mean.device
        with torch.no_grad():
            self.embeddings = nn.Parameter(tower.text.token_embedding(ids[:, :length].to(device)).float())

    def text_features(self) -> Tensor:
        return self._tower[0].encode_embeddings(self.embeddings, self.end)


class LatentPair(LearnedPair):
    """Two vectors of CLIP's joint space as the only parameter, (2, D), from a random start of about unit norm.

    Args:
        tower: the frozen CLIP; needs no text tower. Seed torch before for a reproducible start.
    """

    def __init__(self, tower: Tower) -> None:
        super().__init__(tower)
        self.latents = nn.Parameter(torch.randn(2, tower.width) * tower.width**-0.5)

    def text_features(self) -> Tensor:
        return nn.functional.normalize(self.latents, dim=-1)


def badly_lit(logits: Tensor) -> Tensor:
    """P(badly lit) of each picture in [0, 1], (B,), from logits (B, 2)."""
    return logits.softmax(dim=-1)[:, NEGATIVE]


def _token_ids(tower: Tower, words: str, tokens: int) -> Tensor:
    """Token ids of a sentence of so many tokens that begins with the words, (context,)."""
    own = tower.end_position(tower.token_ids(words)) - 1
    if own > tokens:
        raise ValueError(f"prior.words: {words!r} has {own} tokens; give prior.prompt_tokens {own}, or fewer words")
    return tower.token_ids(" ".join([*words.split(), *["X"] * (tokens - own)]))
