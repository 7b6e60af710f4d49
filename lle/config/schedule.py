"""How long, how fast and in what portions: phases, optimiser, batches and the loop."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import field_validator

from lle.config.fields import OneOf, Settings, setting
from lle.config.metrics import choosing
from lle.dotted import is_dotted


class PhaseLength(Settings):
    """Length of a phase, and when it goes on for longer."""

    steps: int = setting(1000, "Steps of the phase; 0: skipped.", unit="steps", ge=0)
    extend_by: int = setting(
        0, "Steps added each time the loss is still too high; 0: fixed length.", unit="steps", ge=0
    )
    extend_above: float = setting(0.0, "Loss (mean of the last 20 steps) above which the phase is extended.", ge=0)
    max_extensions: int = setting(
        20, "Extensions before the phase ends all the same.", source="ours; endless in the published code", ge=0
    )


class EnhancementLength(PhaseLength):
    """Length of the phase that no training can do without."""

    steps: int = setting(2100, "Steps of the phase.", unit="steps", source="published code", ge=1)


class ReconstructionLength(Settings):
    """Length of the copying phase, and the check that the light map lives."""

    steps: int = setting(1000, "Steps of the phase; 0: skipped.", unit="steps", source="published code", ge=0)
    check_at: int = setting(100, "Step at which the light map must live.", unit="steps", source="published code", ge=1)
    restart_below: float = setting(
        8.0, "PSNR to the input under which the network starts anew.", unit="dB", source="published code", ge=0
    )
    max_restarts: int = setting(5, "New starts before the training is given up.", ge=0, le=100)


class ScheduleSettings(Settings):
    """Phases: prompt initialisation, reconstruction, rounds of enhancement and prompt refinement, then denoising."""

    prompt_init: PhaseLength = setting(
        PhaseLength(steps=8000), "Prompts learn dark from well-lit.", source="published code"
    )
    reconstruction: ReconstructionLength = setting(ReconstructionLength(), "The enhancer learns to copy.")
    enhancement: EnhancementLength = setting(
        EnhancementLength(extend_by=60, extend_above=90.0),
        "The enhancer follows the prompts.",
        source="published code",
    )
    refinement: PhaseLength = setting(
        PhaseLength(steps=1000, extend_by=100, extend_above=60.0),
        "The prompts learn what is still wrong.",
        source="published code",
    )
    rounds: int = setting(
        20,
        "Rounds; the last one ends after its enhancement, for nothing would use its prompts.",
        unit="rounds",
        source="about 70,000 steps, as in the published code",
        ge=1,
        le=1000,
    )
    from_best: bool = setting(
        False,
        "Each round begins with the best enhancer so far by loop.metric, and with fresh optimiser moments, instead of "
        "where the last one stopped; a round that does not come beyond its beginning is undone, with the prompts that "
        "led it there.",
        source="ours",
    )
    tolerance: float = setting(
        0.0,
        "Validations behind the best so far by less than this count as good as it, and the latest of them is taken: "
        "so small a difference tells little of photos that nobody measured. With from_best, a round that has one is "
        "kept.",
        unit="that of loop.metric",
        source="ours",
        ge=0,
        le=100,
    )
    patience: int = setting(
        0, "Validations without a better value after which a round ends; 0: it goes on.", unit="validations", ge=0
    )
    min_gap: float = setting(
        -1.0,
        "A round ends when what guides it hardly tells the enhanced validation photos from the well-lit ones: their "
        "mean penalties (P(badly lit), with prompts) differ by less than this; -1: it goes on.",
        source="ours",
        ge=-1,
        le=1,
    )
    denoising: PhaseLength = setting(
        PhaseLength(steps=0),
        "The light of the best enhancer rests, and its denoiser learns on by restoration; skipped where there is none.",
        source="ours",
    )


class OptimiserSettings(Settings):
    """Two optimisers of one kind, one for the enhancer and one for the prompts."""

    enhancer_lr: float = setting(2e-5, "Learning rate of the enhancer.", source="paper 4.1", gt=0, le=1)
    prompt_lr: float = setting(5e-6, "Learning rate of the prompts.", source="paper 4.1", gt=0, le=1)
    name: str = setting(
        "torch.optim:Adam",
        "module:Class, of torch or your own, made of (params, lr, weight_decay) and storable as tensors.",
        source="paper 4.1",
    )
    weight_decay: float = setting(1e-3, "Weight decay; an L2 penalty inside Adam.", source="published code", ge=0, le=1)
    clip_norm: float = setting(0.0, "Largest gradient norm; 0: no clipping.", source="paper: none", ge=0)
    accumulate: int = setting(1, "Micro-batches summed into one step.", unit="micro-batches", ge=1, le=1024)
    lr_schedule: Literal["none", "cosine"] = setting(
        "none",
        "cosine: the enhancer's learning rate falls along half a cosine to 0 over all steps of enhancement, and again "
        "over those of denoising.",
        source="ours; none in the paper",
    )
    warmup_steps: int = setting(
        0,
        "Step k of the first so many of the enhancer has k/n of its learning rate; 0: all of it at once.",
        unit="steps",
        source="paper: none",
        ge=0,
    )
    ema_decay: float = setting(
        0.0, "Decay of the averaged weights that are validated and saved; 0: none.", source="paper: none", ge=0, lt=1
    )

    @field_validator("name")
    @classmethod
    def _a_path(cls, name: str) -> str:
        if not is_dotted(name):
            raise ValueError(f"{name[:60]!r} names no class; write module:Class, such as torch.optim:AdamW")
        return name


class BatchSettings(Settings):
    """Pictures in one step, over all workers together: results do not change with the number of workers."""

    enhancement: int = setting(
        8,
        "Dark pictures in a step of reconstruction or enhancement.",
        unit="pictures",
        source="paper 4.1",
        ge=1,
        le=65536,
    )
    prompts: int = setting(
        16, "Pictures of each set in a step of the prompts.", unit="pictures", source="paper 4.1", ge=1, le=65536
    )


class LoopSettings(Settings):
    """How the loop runs, whatever it trains."""

    precision: Literal["auto", "fp32", "bf16"] = setting("auto", "auto: bf16 where CUDA supports it, else fp32.")
    log_every: int = setting(10, "Steps between two step lines.", unit="steps", ge=1)
    validate_every: int = setting(
        200, "Steps of enhancement between two validations; each phase also ends with one.", unit="steps", ge=1
    )
    checkpoint_every: int = setting(500, "Steps between two checkpoints.", unit="steps", ge=1)
    keep_checkpoints: int = setting(2, "Newest checkpoints kept, beside the last of each round.", ge=1, le=1000)
    non_finite_limit: int = setting(
        10, "Steps with a non-finite loss or gradient that are skipped before training stops.", unit="steps", ge=0
    )
    profile: bool = setting(
        False, "`--profile`: a trace of ten steps of the first worker, for ui.perfetto.dev, among the run's artifacts."
    )
    metric: Annotated[str, OneOf(choosing)] = setting(
        "auto",
        "What chooses the best enhancer; auto: psnr where pairs are given, else restored: PSNR of photos "
        "held out, well lit, that a camera, the same for all trainings, took again with wrong light.",
    )
