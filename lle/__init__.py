"""Low-light and backlit image enhancers, trained without pairs.

model = lle.load("runs/NAME/model")
model.enhance("photo.jpg").save("out.png")  # or a PIL image, an array, a tensor; any size
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lle.model import Model, enhance, load

__version__ = "0.2.0"
__all__ = ["Model", "__version__", "enhance", "load"]


def __getattr__(name: str) -> Any:
    """torch is imported only when a model is wanted: settings and pictures do without."""
    if name in ("Model", "enhance", "load"):
        from lle import model

        return getattr(model, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
