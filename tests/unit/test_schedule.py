import json
from collections import Counter
from dataclasses import FrozenInstanceError, asdict, replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from lle.config import EnhancementLength, PhaseLength, ReconstructionLength, ScheduleSettings
from lle.training.schedule import DeadLightMap, Phase, ScheduleState, advance, first, learning_done, planned_steps

SHORT = ScheduleSettings(
    prompt_init=PhaseLength(steps=3),
    reconstruction=ReconstructionLength(steps=4, check_at=2, restart_below=8.0, max_restarts=2),
    enhancement=EnhancementLength(steps=5, extend_by=2, extend_above=1.0, max_extensions=3),
    refinement=PhaseLength(steps=2, extend_by=3, extend_above=2.0, max_extensions=1),
    rounds=3,
    denoising=PhaseLength(steps=4),
)


def walk(settings: ScheduleSettings, loss: float = 0.0, copy_psnr: float | None = 30.0) -> list[ScheduleState]:
    """Every state from the first to the last."""
    checkpoint_files = [first(settings)]
    while checkpoint_files[-1].phase is not Phase.DONE:
        checkpoint_files.append(advance(settings, checkpoint_files[-1], loss, copy_psnr))
    return checkpoint_files


def start_of(phase: Phase, settings: ScheduleSettings) -> ScheduleState:
    return next(state for state in walk(settings) if state.phase is phase)


def lengths(checkpoint_files: list[ScheduleState]) -> list[tuple[str, int, int]]:
    """(phase, round, steps) in the order they were walked."""
    runs: list[tuple[str, int, int]] = []
    for state in checkpoint_files[:-1]:
        if runs and runs[-1][:2] == (state.phase.value, state.round):
            runs[-1] = (*runs[-1][:2], runs[-1][2] + 1)
        else:
            runs.append((state.phase.value, state.round, 1))
    return runs


def test_the_defaults_give_the_paper_s_phases_in_order():
    expected = [("prompt_init", 0, 8000), ("reconstruction", 0, 1000)]
    for round_ in range(1, 21):
        expected.append(("enhancement", round_, 2100))
        expected.append(("refinement", round_, 1000))
    assert lengths(walk(ScheduleSettings())) == expected[:-1], "the last round ends after its enhancement"


def test_the_defaults_come_to_about_the_paper_s_total():
    total = planned_steps(ScheduleSettings())
    assert total == 8000 + 1000 + 20 * 2100 + 19 * 1000 == 70_000
    assert walk(ScheduleSettings())[-1].step == total


def test_one_round_refines_nothing():
    assert lengths(walk(SHORT.model_copy(update={"rounds": 1}))) == [
        ("prompt_init", 0, 3),
        ("reconstruction", 0, 4),
        ("enhancement", 1, 5),
        ("denoising", 1, 4),
    ]


@pytest.mark.parametrize(
    ("skipped", "expected"),
    [
        (["prompt_init"], "c4 e5 r2 e5 r2 e5 d4"),
        (["reconstruction"], "p3 e5 r2 e5 r2 e5 d4"),
        (["refinement"], "p3 c4 e5 e5 e5 d4"),
        (["denoising"], "p3 c4 e5 r2 e5 r2 e5"),
        (["prompt_init", "reconstruction", "refinement", "denoising"], "e5 e5 e5"),
    ],
)
def test_a_phase_of_no_steps_is_skipped(skipped: list[str], expected: str):
    none = {name: getattr(SHORT, name).model_copy(update={"steps": 0}) for name in skipped}
    settings = SHORT.model_copy(update=none)
    short = {"prompt_init": "p", "reconstruction": "c", "enhancement": "e", "refinement": "r", "denoising": "d"}
    assert " ".join(f"{short[phase]}{steps}" for phase, _, steps in lengths(walk(settings))) == expected
    assert [round_ for phase, round_, _ in lengths(walk(settings)) if phase == "enhancement"] == [1, 2, 3]
    assert planned_steps(settings) == walk(settings)[-1].step


def test_enhancement_goes_on_by_sixty_while_the_loss_is_above_ninety():
    settings = ScheduleSettings()
    state = replace(start_of(Phase.ENHANCEMENT, settings), phase_step=2099)
    assert advance(settings, replace(state, recent=(100.0,) * 19), 100.0).phase_length == 2160
    assert advance(settings, replace(state, recent=(80.0,) * 19), 80.0).phase is Phase.REFINEMENT


def test_the_mean_of_the_last_twenty_losses_decides():
    settings = ScheduleSettings()
    state = start_of(Phase.ENHANCEMENT, settings)
    for _ in range(2080):
        state = advance(settings, state, 1e6)  # long ago: outside the window
    for _ in range(19):
        state = advance(settings, state, 89.0)
    assert len(state.recent) == 20
    assert advance(settings, state, 109.1).extensions == 1, "mean just above 90"
    assert advance(settings, state, 109.0).phase is Phase.REFINEMENT, "mean exactly 90"


def test_extensions_end_at_their_limit():
    counts = Counter(state.phase for state in walk(SHORT, loss=1e9)[:-1])
    assert counts == {
        Phase.PROMPT_INIT: 3,
        Phase.RECONSTRUCTION: 4,
        Phase.ENHANCEMENT: 3 * (5 + 3 * 2),
        Phase.REFINEMENT: 2 * (2 + 3),
        Phase.DENOISING: 4,
    }


def test_each_round_may_extend_anew():
    extensions = [state.extensions for state in walk(SHORT, loss=1e9) if state.phase is Phase.ENHANCEMENT]
    assert [b for a, b in pairwise(extensions) if b < a] == [0, 0]
    assert max(extensions) == 3


def test_a_dead_light_map_starts_reconstruction_anew():
    state = start_of(Phase.RECONSTRUCTION, SHORT)
    state = advance(SHORT, state, 1.0, 3.0)
    assert (state.phase_step, state.restarts) == (1, 0), "too early to judge"
    state = advance(SHORT, state, 1.0, 7.9)
    assert (state.phase, state.phase_step, state.restarts, state.recent) == (Phase.RECONSTRUCTION, 0, 1, ())
    assert state.step == 3 + 2, "the lost steps count"


def test_a_living_light_map_goes_on():
    state = advance(SHORT, start_of(Phase.RECONSTRUCTION, SHORT), 1.0, 3.0)
    state = advance(SHORT, state, 1.0, 8.0)
    assert (state.phase_step, state.restarts) == (2, 0)
    assert advance(SHORT, state, 1.0, 3.0).phase_step == 3, "checked once"


def test_a_short_reconstruction_is_checked_at_its_end():
    settings = SHORT.model_copy(update={"reconstruction": ReconstructionLength(steps=1, check_at=100)})
    state = start_of(Phase.RECONSTRUCTION, settings)
    assert advance(settings, state, 1.0, 3.0).restarts == 1
    assert advance(settings, state, 1.0, 9.0).phase is Phase.ENHANCEMENT


def test_a_light_map_that_stays_dead_ends_the_training_and_names_the_setting():
    state = start_of(Phase.RECONSTRUCTION, SHORT)
    for _ in range(2 * 2 + 1):
        state = advance(SHORT, state, 1.0, 3.0)
    assert state.restarts == 2
    with pytest.raises(DeadLightMap, match=r"8\.0 dB.*3 times.*optimiser\.enhancer_lr"):
        advance(SHORT, state, 1.0, 3.0)


def test_planned_steps_from_a_state_counts_what_is_done_and_extended():
    settings = ScheduleSettings()
    state = start_of(Phase.ENHANCEMENT, settings)
    state = replace(state, phase_step=2100, step=11_100, phase_length=2160, extensions=1)
    assert planned_steps(settings, state) == 70_060
    done = walk(SHORT)[-1]
    assert planned_steps(SHORT, done) == done.step


def test_states_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        first(SHORT).step = 7  # type: ignore[misc]


step_results = st.lists(st.tuples(st.floats(0, 4), st.floats(8, 40)), min_size=1, max_size=80)
extensions = {
    "extend_by": st.integers(0, 3),
    "extend_above": st.floats(0, 4),
    "max_extensions": st.integers(0, 3),
}
lengths_of_a_phase = st.builds(PhaseLength, steps=st.integers(0, 6), **extensions)
schedules = st.builds(
    ScheduleSettings,
    prompt_init=lengths_of_a_phase,
    reconstruction=st.builds(ReconstructionLength, steps=st.integers(0, 6), check_at=st.integers(1, 6)),
    enhancement=st.builds(EnhancementLength, steps=st.integers(1, 6), **extensions),
    refinement=lengths_of_a_phase,
    rounds=st.integers(1, 4),
    denoising=lengths_of_a_phase,
)


@hypothesis_settings(max_examples=60)
@given(schedules, step_results)
def test_a_random_walk_is_pure_survives_json_and_keeps_its_promises(settings: ScheduleSettings, results):
    state, twin = first(settings), first(settings)
    for loss, psnr in results:
        if state.phase is Phase.DONE:
            break
        before = replace(state)
        after = advance(settings, state, loss, psnr)
        assert state == before, "advance changed its argument"
        stored = ScheduleState.from_json(json.loads(json.dumps(asdict(after))))
        assert stored == after
        assert isinstance(stored.phase, Phase) and isinstance(stored.recent, tuple)
        twin = advance(settings, ScheduleState.from_json(json.loads(json.dumps(asdict(twin)))), loss, psnr)
        assert twin == after, "the same losses, other decisions"
        assert after.step == state.step + 1
        assert after.phase_step < after.phase_length or after.phase is Phase.DONE
        if after.extensions == state.extensions or not after.in_phase_of(state):
            assert planned_steps(settings, after) == planned_steps(settings, state)
        else:
            assert planned_steps(settings, after) > planned_steps(settings, state)
        state = after


@given(schedules, st.floats(0, 4))
def test_every_schedule_ends_where_it_planned_to_or_later(settings: ScheduleSettings, loss: float):
    checkpoint_files = walk(settings, loss)
    extended = sum(
        getattr(settings, before.phase.value).extend_by
        for before, after in pairwise(checkpoint_files)
        if after.phase is before.phase and after.extensions > before.extensions
    )
    assert checkpoint_files[-1].step == planned_steps(settings) + extended
    assert checkpoint_files[-1].round == settings.rounds


def test_the_enhancement_is_done_by_equal_parts_and_stands_still_between_rounds():
    steady = SHORT.model_copy(update={"enhancement": EnhancementLength(steps=5, extend_by=0)})
    checkpoint_files = [state for state in walk(steady) if state.phase is not Phase.DENOISING]
    done = [learning_done(steady, state) for state in checkpoint_files]
    assert done == sorted(done) and (done[0], done[-1]) == (0.0, 1.0)
    enhancing = [share for share, state in zip(done, checkpoint_files, strict=True) if state.phase is Phase.ENHANCEMENT]
    assert enhancing == pytest.approx([step / 15 for step in range(15)])


def test_an_extended_round_is_done_with_its_last_added_step():
    state = ScheduleState(Phase.ENHANCEMENT, round=3, phase_step=5, phase_length=10)
    assert learning_done(SHORT, state) == pytest.approx(2.5 / 3)


def test_denoising_is_counted_by_itself():
    denoising = [state for state in walk(SHORT) if state.phase is Phase.DENOISING]
    assert [learning_done(SHORT, state) for state in denoising] == [0, 0.25, 0.5, 0.75]
