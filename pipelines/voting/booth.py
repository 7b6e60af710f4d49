"""Photos, models and people: who is asked what next, the pictures that are shown, and the votes that are kept."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch

from cluster.storage import explain, open_uri
from lle.config import DataSettings
from lle.dotted import said
from lle.images import ImageError, decode_picture, on_white
from lle.model import enhance_picture
from pipelines.config.vote import VotingSettings
from pipelines.data import shards
from pipelines.data.photo_sets import list_photos
from pipelines.evaluation.photos import read_contents
from pipelines.evaluation.worker import LOW, Photo
from pipelines.models.named import NamedModel
from pipelines.reporting.html_report import view
from pipelines.reporting.local_page import Refusal
from pipelines.voting.trials import Trial, some_photos, trials
from pipelines.voting.votes import CHOICES, LEFT, RIGHT, Vote, add, read

INPUT = "input"
VIEW_SIDE, VIEW_QUALITY = 1600, 95  # px, longer side; of JPEG, which must not hide what is compared
KEPT_PICTURES = 48
LONGEST_NAME = 60
SLOWEST = 3600.0  # seconds; who takes longer was away


class Booth:
    """What is asked of people, and what they have said.

    Args:
        settings: photos, file of votes, seed and pixel budget.
        models: two or more by name, of different versions.

    Attributes:
        refused: photos that cannot be shown, with the reason.

    Raises:
        DataError, StorageError, VoteError: the photos or the votes cannot be used.
    """

    def __init__(self, settings: VotingSettings, models: Mapping[str, NamedModel], file: Path) -> None:
        found = list_photos(settings.photos, "photos", DataSettings(max_pixels=settings.max_pixels))
        chosen = some_photos(len(found.paths), settings.count, settings.seed)
        self.photos = [Photo(LOW, settings.photos, found.paths[index]) for index in chosen]
        contents = read_contents(self.photos, settings.max_pixels)
        self.refused = dict(found.refused)
        self._contents = [contents[f"{LOW}/{photo.name}"] for photo in self.photos]
        self._names, self._models = [*models], [*models.values()]
        self._versions = [model.version for model in self._models]
        self._file, self._max_pixels = file, settings.max_pixels
        self._answered = {vote.question for vote in read(file)}
        self._unusable = set[int]()
        self._trials = lru_cache(1024)(lambda voter: trials(len(self.photos), len(models), settings.seed, voter))
        self._picture = lru_cache(KEPT_PICTURES)(self._made)

    def asked(self, voter: str, trial: int | None = None) -> dict[str, Any]:
        """What a person is asked next, or again: the number of the trial, none where all are done; how many are done,
        of how many; the number of the one behind it, for the page to load ahead.

        Raises:
            Refusal: nobody is called so, or there is no such trial.
        """
        voter = _name(voter)
        every = self._trials(voter)
        open_trials = [
            number
            for number, each in enumerate(every)
            if each.photo not in self._unusable and self._question(voter, each) not in self._answered
        ]
        if trial is not None:
            self._trial(voter, trial)
        following = [number for number in open_trials if number != trial]
        now = following.pop(0) if trial is None and following else trial
        usable = sum(each.photo not in self._unusable for each in every)
        ahead = following[0] if following else None
        return {"trial": now, "next": ahead, "done": usable - len(open_trials), "of": usable}

    def picture(self, voter: str, trial: int, side: str) -> bytes:
        """A JPEG of what stands on the left or right of a trial, or of the photo itself (`input`).

        Raises:
            Refusal: there is no such trial or side, or the photo cannot be enhanced; it is not asked about any more.
        """
        asked = self._trial(_name(voter), trial)
        sides: dict[str, int | None] = {LEFT: asked.left, RIGHT: asked.right, INPUT: None}
        if side not in sides:
            raise Refusal(f"{side}: no such side", 400)
        try:
            return self._picture(asked.photo, sides[side])
        except ImageError as error:
            reason = error.reason
        except OSError as error:
            reason = explain(error)
        except (MemoryError, RuntimeError, ValueError) as error:
            reason = f"could not be enhanced ({said(error)})"
        self._unusable.add(asked.photo)
        self.refused[self.photos[asked.photo].name] = reason
        raise Refusal(reason, 422)

    def vote(self, voter: str, trial: int, choice: str, seconds: float) -> None:
        """Keep a person's choice.

        Raises:
            Refusal: there is no such trial or choice.
            OSError: it cannot be written.
        """
        voter = _name(voter)
        asked = self._trial(voter, trial)
        if choice not in CHOICES:
            raise Refusal(f"{choice}: no such choice; give {', '.join(CHOICES)}", 400)
        add(
            Vote(
                photo=self.photos[asked.photo].name,
                content=self._contents[asked.photo],
                left=self._names[asked.left],
                right=self._names[asked.right],
                left_version=self._versions[asked.left],
                right_version=self._versions[asked.right],
                choice=choice,
                voter=voter,
                time=datetime.now(UTC).isoformat(timespec="seconds"),
                seconds=round(min(seconds, SLOWEST), 1) if seconds > 0 else 0.0,
            ),
            self._file,
        )
        self._answered.add(self._question(voter, asked))

    def _trial(self, voter: str, number: int) -> Trial:
        every = self._trials(voter)
        if not 0 <= number < len(every):
            raise Refusal(f"trial {number}: there is none", 400)
        return every[number]

    def _question(self, voter: str, trial: Trial) -> tuple[str, str, frozenset[str]]:
        return voter, self._contents[trial.photo], frozenset(self._versions[each] for each in (trial.left, trial.right))

    def _made(self, photo: int, model: int | None) -> bytes:
        filesystem, _ = open_uri(self.photos[photo].uri)
        path = self.photos[photo].path
        content = shards.read(filesystem, path, self._max_pixels)
        picture = decode_picture(content, path, max_pixels=self._max_pixels)
        if model is not None:
            picture = enhance_picture(self._models[model].network, picture)
        return view(on_white(picture), VIEW_SIDE, picture.icc_profile, VIEW_QUALITY)


def on_its_device(models: Mapping[str, NamedModel]) -> None:
    """Bring models to the GPU, where there is one."""
    if torch.cuda.is_available():
        for model in models.values():
            model.network.cuda()


def _name(voter: str) -> str:
    name = " ".join(voter.split())
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise Refusal(f"give a name of 1 to {LONGEST_NAME} letters, so that your votes are told from others'", 400)
    return name
