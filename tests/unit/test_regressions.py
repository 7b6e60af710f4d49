"""What counts as slower than it was."""

import json
from pathlib import Path

import pytest

from benchmarks import pages, regressions
from benchmarks.regressions import Kept, as_text, main


def test_a_ratio_has_median_and_noise_of_its_turns():
    turns = [3.9, 4.0, 4.0, 4.1, 4.2, 9.0, 3.8]  # one turn was disturbed
    assert Kept.of(turns).median == 4.0
    assert 0.1 < Kept.of(turns).noise < 0.4


@pytest.mark.parametrize(
    ("today", "fell"),
    [
        (Kept(3.5, 0.1), True),
        (Kept(3.7, 0.1), False),  # less than a tenth
        (Kept(3.0, 1.2), False),  # as likely chance
        (Kept(5.0, 0.1), False),
    ],
)
def test_it_has_fallen_beyond_noise_and_a_tenth(today: Kept, fell: bool):
    assert Kept(4.0, 0.1).has_fallen_to(today) is fell


def test_a_fall_is_told_and_ends_with_1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys):
    monkeypatch.setattr(pages, "RESULTS", tmp_path)
    monkeypatch.setattr(regressions, "set_threads", lambda threads: None)
    for turns, status in (([4.0, 4.1, 3.9], 0), ([2.0, 2.1, 1.9], 1)):
        monkeypatch.setattr(regressions, "RATIOS", {"a step": lambda count, turns=turns: turns})
        assert main(["--keep"]) == status
    told = capsys.readouterr().out
    assert "new" in told and "FELL" in told
    assert json.loads((tmp_path / "regressions.json").read_text())["ratios"]["a step"]["median"] == 2.0
    assert main([]) == 0


def test_what_was_never_measured_is_new():
    assert "new" in as_text({}, {"a step": Kept(2.0, 0.1)})
