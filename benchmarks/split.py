"""Which SICE scenes no training of ours sees: what our models are chosen and compared by."""

from __future__ import annotations

import csv
from pathlib import Path

EVERY = 4


def held_out_pairs(data: Path) -> list[dict[str, str]]:
    """Rows `low`, `high`, `scene` of every fourth scene of DATA/train/sice_pairs.csv; empty where there is no such
    file.
    """
    file = data / "train" / "sice_pairs.csv"
    if not file.is_file():
        return []
    with file.open(newline="", encoding="utf-8") as lines:
        pairs = list(csv.DictReader(lines))
    chosen = set(sorted({pair["scene"] for pair in pairs}, key=int)[::EVERY])
    return [pair for pair in pairs if pair["scene"] in chosen]


def training_photos(data: Path, folder: str) -> list[Path]:
    """Photos of DATA/train/FOLDER but for all exposures of the held-out scenes, by name."""
    scenes = {f"scene {pair['scene']}" for pair in held_out_pairs(data)}
    with (data / "MANIFEST.csv").open(newline="", encoding="utf-8") as lines:
        notes = {row["path"]: row["note"] for row in csv.DictReader(lines)}
    photos = sorted((data / "train" / folder).iterdir())
    return [photo for photo in photos if notes[f"train/{folder}/{photo.name}"] not in scenes]
