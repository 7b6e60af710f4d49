"""Input, baselines and model on held-out pairs: as a table on the console and in the report, and in a sentence."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from pipelines.evaluation.quality import Quality
from pipelines.reporting import page
from pipelines.reporting.words import SPACE, better_by, number


def print_quality(console: Console, qualities: Sequence[Quality], trained_here: str) -> None:
    """The table at the end of a training: one row for the input, each baseline and the model, a column for each group;
    below it what that means.
    """
    table = Table(title="Held-out pairs: PSNR (dB) / SSIM, higher is better", title_justify="left")
    table.add_column("")
    for group in qualities[0].groups:
        table.add_column(group, justify="right")
    for quality in qualities:
        cells = [f"{quality.psnr(group):.2f} / {quality.ssim(group):.3f}" for group in quality.groups]
        table.add_row(quality.name, *cells, style="bold" if quality.name == trained_here else "")
    console.print(table)
    console.print(quality_verdict(qualities))


def quality_verdict(qualities: Sequence[Quality]) -> str:
    """Input, the strongest baseline and the model in a sentence."""
    before, *baselines, model = qualities
    baseline = max(baselines, key=lambda each: each.psnr())
    over_input, over_baseline = (model.psnr() - each.psnr() for each in (before, baseline))
    worse = " One exposure for each photo, found without learning, does more." if over_baseline < 0 else ""
    return (
        f"PSNR on {len(model.pictures)} held-out pairs: {number('psnr', model.psnr())}, "
        f"{better_by('psnr', over_baseline)} than {baseline.name} ({number('psnr', baseline.psnr())}), "
        f"{better_by('psnr', over_input)} than the {before.name} ({number('psnr', before.psnr())}).{worse}"
    ).replace(SPACE, " ")


def quality_table(quality: Sequence[Quality]) -> page.Table:
    groups = quality[0].groups
    rows = [
        [each.name, *(f"{each.psnr(group):.2f} dB / {each.ssim(group):.3f}" for group in groups)] for each in quality
    ]
    return page.Table("Held-out pairs: PSNR / SSIM, higher is better", ["", *groups], rows, strong="enhanced")
