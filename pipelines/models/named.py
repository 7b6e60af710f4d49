"""A model under a name, whatever it is: what jobs measure, enhance with and export."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

import torch
from torch import nn

from lle.enhancers.base import count_weights
from lle.model import Model
from pipelines.job import UserError


class ModelError(UserError):
    """A URI that names no model; the message says what to change."""


@dataclass(frozen=True)
class NamedModel:
    """Something to measure.

    Attributes:
        uri: where it came from.
        name: short, for tables.
        network: pictures in, pictures out: RGB in [0, 1], (B, 3, H, W).
        found_at: what the URI named when it was loaded: `models:/NAME/3` for an alias that moves; empty: the URI.
    """

    uri: str
    name: str
    network: nn.Module
    found_at: str = ""

    @property
    def record(self) -> dict[str, str]:
        """What identifies it in a record, whatever becomes of its alias: where it was found, and its version."""
        return {"model_found_at": self.found_at or self.uri, "weights_hash": self.version}

    @property
    def parameters(self) -> int:
        """Number of weights."""
        return count_weights(self.network)

    @property
    def knows_strength(self) -> bool:
        """Whether its pictures can be asked for at another strength than 1."""
        return isinstance(self.network, Model) and self.network.enhancer.knows_strength

    @property
    def version(self) -> str:
        """Changes with anything that changes its pictures: kind, settings, weights; not with where it lies."""
        network = self.network
        chosen = network.settings.model_dump_json(exclude_defaults=True) if isinstance(network, Model) else self.name
        digest = sha256(chosen.encode())
        for name, weight in network.state_dict().items():
            digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
            digest.update(weight.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()[:16]
