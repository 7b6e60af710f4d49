"""Two photos that belong together have the same path below the roots of their sets; their suffixes may differ."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import replace

from cluster.storage import name_below, open_uri, told
from pipelines.data.listing import DataError, not_a_photo
from pipelines.data.photo_sets import PhotoSet
from pipelines.job import UserError

NAMED = 3


class PairingError(UserError):
    """Photos without a partner, or with more than one; the message names three of them."""


def aligned(low: PhotoSet, high: PhotoSet, settings: str) -> tuple[PhotoSet, PhotoSet]:
    """Two sets as pairs: what stands at the same place of both belongs together (`pairing.paired`).

    With a photo that was refused, its partner goes too.

    Raises:
        DataError: missing or ambiguous partners, in the name of the two `settings`.
    """
    sides = [dict(zip(each.names, each.paths, strict=True)) for each in (low, high)]
    bad = [_refused_names(each) for each in (low, high)]
    stems = [{stem(name) for name in (*side, *names)} for side, names in zip(sides, bad, strict=True)]
    listed = [
        [*side, *(name for name in names if stem(name) in others and name not in side)]
        for side, names, others in zip(sides, bad, reversed(stems), strict=True)
    ]
    try:
        partners = paired(*listed)
    except PairingError as error:
        raise DataError(f"{settings}: {error}") from None
    good = [(name, other) for name, other in partners.items() if name in sides[0] and other in sides[1]]
    if not good:
        raise DataError(f"{settings}: no pair is left whose two photos are readable; check the folders")
    return (
        replace(low, paths=tuple(sides[0][name] for name, _ in good)),
        replace(high, paths=tuple(sides[1][other] for _, other in good)),
    )


def _refused_names(photos: PhotoSet) -> list[str]:
    """Of what was skipped, the photos' names; a prepared set tells names, another paths."""
    _, root = open_uri(photos.uri)
    names = [name_below(root, path) if path.startswith(root) else path for path in photos.refused]
    return [name for name in names if not not_a_photo(name)]


def paired(low: Sequence[str], high: Sequence[str]) -> dict[str, str]:
    """The partner of each name of `low` among those of `high`, in the order of `low`.

    A partner has the same name; else the same one but for its suffix (`a/1.png` and `a/1.jpg`), where neither side has
    another such that could be meant.

    Args:
        low, high: names below the roots of two sets.

    Raises:
        PairingError: not each name of both has exactly one partner.
    """
    same = set(low) & set(high)
    left, right = ([name for name in names if name not in same] for names in (low, high))
    by_stem, by_stem_of_low = _bystem(right), _bystem(left)
    many = [name for name in low if len(by_stem.get(stem(name), ())) > 1 and name not in same]
    many += [
        name for names in by_stem_of_low.values() if len(names) > 1 and stem(names[0]) in by_stem for name in names
    ]
    many += [name for names in (low, high) for name in _doubles(names)]
    if many:
        raise PairingError(_sentence(many, "more than one partner", "keep one of each name"))
    partners = {name: by_stem[stem(name)][0] for name in left if stem(name) in by_stem}
    taken = set(partners.values())
    alone = [name for name in left if name not in partners] + [name for name in right if name not in taken]
    if alone:
        where = "below the two folders"
        raise PairingError(_sentence(alone, "no partner of the same name", f"paths {where} must be the same"))
    return {name: name if name in same else partners[name] for name in low}


def _bystem(names: Sequence[str]) -> Mapping[str, list[str]]:
    found = dict[str, list[str]]()
    for name in names:
        found.setdefault(stem(name), []).append(name)
    return found


def stem(name: str) -> str:
    """A name without its suffix."""
    return posixpath.splitext(name)[0]


def _doubles(names: Sequence[str]) -> list[str]:
    seen = set[str]()
    return [name for name in names if name in seen or seen.add(name)]  # type: ignore[func-returns-value]


def _sentence(names: Sequence[str], what: str, remedy: str) -> str:
    distinct = [told(name) for name in dict.fromkeys(names)]
    shown = ", ".join(distinct[:NAMED])
    more = f" and {len(distinct) - NAMED} more" if len(distinct) > NAMED else ""
    return f"{shown}{more} {'has' if len(distinct) == 1 else 'have'} {what}; {remedy}"
