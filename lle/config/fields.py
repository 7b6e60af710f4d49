"""Settings of one kind: documented, bounded fields, and the ranges they share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    PlainSerializer,
)
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from lle.dotted import is_dotted


def setting(
    default: Any,
    about: str,
    *,
    unit: str = "",
    source: str = "",
    needs: str = "",
    phases: Sequence[str] = (),
    **bounds: Any,
) -> Any:
    """One documented field.

    Args:
        default: value when nobody says otherwise.
        about: what it does, one sentence.
        unit: unit of the value, empty for choices and counts without one.
        source: where the default comes from.
        needs: `path=value` of another setting without which this one has no effect, `path!=value` for the opposite;
            the command line warns when such a setting is given in vain.
        phases: of a weight or a term, the phases of the schedule that compute it; one that acts in none of those
            which a training walks is refused.
        bounds: pydantic's `ge`, `gt`, `le`, `lt`, `min_length`, ...
    """
    remarks = "; ".join(remark for remark in (unit, source) if remark)
    description = f"{about} [{remarks}]" if remarks else about
    extra: dict[str, Any] = ({"needs": needs} if needs else {}) | ({"phases": list(phases)} if phases else {})
    return Field(default, description=description, json_schema_extra=extra or None, **bounds)


def phases_of(info: FieldInfo) -> list[str]:
    """The phases that compute a weight or a term, by its field."""
    extra = info.json_schema_extra
    return list(extra.get("phases", [])) if isinstance(extra, dict) else []  # type: ignore[arg-type]


class Settings(BaseModel):
    """A branch of the tree: unknown keys are errors, values cannot change after validation."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


@dataclass(frozen=True)
class OneOf:
    """For `Annotated[str, OneOf(...)]`: a name of a table or, where `own` says of what, the path of one's own.

    Attributes:
        names: gives the table's, asked at each check.
        own: what a path names: `module:Class`; empty: there are none of one's own.
    """

    names: Callable[[], Iterable[str]]
    own: str = ""

    def __str__(self) -> str:
        """What is accepted, in words."""
        return f"one of {', '.join(self.names())}{f', or {self.own}' if self.own else ''}"

    def check(self, given: str) -> str:
        """The name, if it is one.

        Raises:
            ValueError: it is not; the message names the nearest.
        """
        known = list(self.names())
        if given in known or (self.own and is_dotted(given)):
            return given
        near = get_close_matches(given, known, n=1)
        hint = f"did you mean {near[0]}? Give" if near else "give"
        raise ValueError(f"{' '.join(given.split())[:60]} is not allowed; {hint} {self}")

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.check, handler(source))


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    low, high = bounds
    if low > high:
        raise ValueError(f"({low}, {high}) runs downwards; write the smaller number first: [{high}, {low}]")
    return bounds


def _not_negative(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] < 0:
        raise ValueError(f"{bounds} begins below 0; give numbers of at least 0")
    return bounds


def _parts(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[1] > 1:
        raise ValueError(f"{bounds} ends above 1; give parts of at most 1")
    return bounds


def _above_zero(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] <= 0:
        raise ValueError(f"{bounds} begins at or below 0; give numbers above 0")
    return bounds


def _listed(given: Any) -> Any:
    """A list of places; one alone may be given, and is kept, as plain text."""
    given = [given] if isinstance(given, str) else given
    return [] if given == [""] else given


def _plain(places: tuple[str, ...]) -> str | tuple[str, ...]:
    return places if len(places) > 1 else "".join(places)


Places = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], BeforeValidator(_listed), PlainSerializer(_plain)]
Weights = tuple[Annotated[int, Field(ge=1, le=1000)], ...]

Range = Annotated[tuple[float, float], AfterValidator(_rising)]


PositiveRange = Annotated[tuple[float, float], AfterValidator(_rising), AfterValidator(_not_negative)]


PartRange = Annotated[PositiveRange, AfterValidator(_parts)]
PositivePartRange = Annotated[PartRange, AfterValidator(_above_zero)]
