"""Every setting of a run: type, range, default and meaning, and what must agree."""

import json
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Lt
from pydantic import BaseModel, ConfigDict, Field, model_validator

Schedule = Literal["linear", "constant"]


class _Group(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False)


class GameSettings(_Group):
    """Game"""

    env_id: str = Field(
        "PongNoFrameskip-v4",
        description="the game: PongNoFrameskip-v4, ALE/Pong-v5 or Pong style, or any Gymnasium "
        "environment with discrete actions; MODULE:ID imports MODULE, which runs its code",
    )
    num_envs: int = Field(16, ge=1, le=1024, description="envs: games each worker plays at once")
    frame_skip: int = Field(
        4, ge=1, le=64, description="frames that one step (decision) lasts; Atari only"
    )
    frame_stack: int = Field(
        4, ge=1, le=16, description="latest frames that the network sees; Atari only"
    )
    screen_size: int = Field(
        84, ge=36, le=210, description="width and height of an observation, in pixels; Atari only"
    )
    sticky_action_probability: Annotated[float, Ge(0), Lt(1)] | None = Field(
        None,
        description="chance per frame that the game repeats the action before; null: what the id "
        "stands for (0 for NoFrameskip-v4, 0.25 for v5); Atari only",
    )
    noop_max: int = Field(
        30,
        ge=1,
        le=1000,
        description="a game begins with 0 to noop_max - 1 no-op frames; Atari only",
    )
    terminal_on_life_loss: bool = Field(
        True, description="a lost life ends the return (never the game)"
    )
    clip_rewards: bool | None = Field(
        None,
        description="train on the sign of the reward (scores stay unclipped); null: only if the "
        "game is an Atari game",
    )
    fire_on_reset: bool = Field(
        True, description="press FIRE when a game begins, if it has FIRE; Atari only"
    )
    fire_on_life_loss: bool = Field(
        True,
        description="press FIRE in the step after a lost life, if the game has FIRE; the policy "
        "does not learn from that step; Atari only",
    )
    full_action_space: bool = Field(
        False, description="all 18 actions, not the game's own few; Atari only"
    )
    max_frames_per_game: int = Field(
        108_000, ge=16, le=2**31 - 1, description="time limit of a game, in frames"
    )


class TrainingSettings(_Group):
    """Training"""

    total_steps: int = Field(
        10_000_000,
        ge=1,
        le=10**12,
        description="steps of the whole run, over all envs of all workers; rounded up to whole "
        "rollouts",
    )
    num_steps: int = Field(128, ge=1, le=65_536, description="steps of a rollout, per env")
    num_epochs: int = Field(6, ge=1, le=1000, description="passes over each rollout")
    num_minibatches: int = Field(8, ge=1, le=65_536, description="minibatches of each epoch")
    minibatch_per: Literal["worker", "run"] = Field(
        "worker",
        description="with several workers: each contributes a minibatch of its own to every "
        "gradient step, which is then over workers times as many steps (worker), or all share out "
        "one, and an epoch has workers times as many gradient steps (run)",
    )
    learning_rate: float = Field(4e-4, gt=0, le=1, description="initial learning rate of Adam")
    learning_rate_schedule: Schedule = Field(
        "linear", description="linear falls to 0 at total_steps"
    )
    adam_epsilon: float = Field(1e-5, gt=0, le=1, description="Adam's epsilon hat")
    adam_beta_1: float = Field(0.9, ge=0, lt=1, description="decay of Adam's first moment")
    adam_beta_2: float = Field(0.999, ge=0, lt=1, description="decay of Adam's second moment")
    adam_reset: bool = Field(
        False, description="begin Adam anew, with moments of 0, before the update of each rollout"
    )
    max_grad_norm: float = Field(0.5, gt=0, description="clip of the gradient's global norm")
    gamma: float = Field(0.99, ge=0, le=1, description="discount per step")
    gae_lambda: float = Field(0.95, ge=0, le=1, description="lambda of GAE")
    normalize_advantages: bool = Field(
        True, description="mean 0 and standard deviation 1 in each minibatch"
    )
    advantage_std_floor: float = Field(
        0.0, ge=0, description="least standard deviation that normalising divides advantages by"
    )
    target_kl: Annotated[float, Gt(0)] | None = Field(
        None, description="no further epoch once an epoch's mean approximate KL exceeds this"
    )
    target_kl_if_improved: bool = Field(
        False,
        description="let target_kl end the epochs only where the surrogate is better than that of "
        "the old policy",
    )
    minibatch_kl_limit: Annotated[float, Gt(0)] | None = Field(
        None,
        description="end the update before the step of a minibatch whose mean approximate KL "
        "exceeds this",
    )
    stop_at_score: float | None = Field(
        None, description="end the run when the mean score of the last 100 games reaches this"
    )


class ObjectiveSettings(_Group):
    """Objective"""

    clip_range: float = Field(0.2, gt=0, lt=1, description="initial epsilon of the surrogate")
    clip_range_schedule: Schedule = Field(
        "constant", description="linear falls to 0 at total_steps"
    )
    entropy_coef: float = Field(0.01, ge=0, description="weight of the entropy bonus")
    value_coef: float = Field(0.5, ge=0, description="weight of the value loss")
    value_clip_range: Annotated[float, Gt(0)] | None = Field(
        None, description="clip of the value's change from its old one; null: none"
    )
    feature_drift_coef: float = Field(
        0.0,
        ge=0,
        description="weight of the squared drift of the last hidden layer's pre-activations since "
        "the rollout",
    )
    delta_target_policy: Literal["probability", "logit"] = Field(
        "probability", description="space in which the surrogate's target lies clip_range away"
    )
    peaked_policy_loss: bool = Field(
        False, description="pull back to the target from beyond it, as hard as towards it"
    )
    beyond_target_slope: Annotated[float, Ge(0)] | None = Field(
        None,
        description="how hard to pull back from beyond the target; null: 0 (the clipped loss), or "
        "1 with peaked_policy_loss",
    )
    quadratic_policy_loss: bool = Field(
        False, description="a parabola with its minimum at the target, in place of the clip"
    )
    value_rescaling: Literal["none", "per_state", "per_batch", "smoothed"] = Field(
        "none", description="scale of the value loss by the policy's pseudo-entropy"
    )
    value_rescaling_decay: float = Field(
        0.95,
        ge=0,
        lt=1,
        description="decay of smoothed rescaling from minibatch to minibatch",
    )


class NetworkSettings(_Group):
    """Network"""

    network: Literal["nature", "a3c", "impala", "mlp"] = Field(
        "a3c",
        description="nature (Mnih et al. 2015), a3c (Mnih et al. 2016; the PPO paper's), impala "
        "(Espeholt et al. 2018, residual, far slower), or mlp for flat observations",
    )
    network_width: int = Field(
        1, ge=1, le=16, description="times as many filters in each convolution; pictures only"
    )
    layer_norm: bool = Field(
        False,
        description="layer normalisation (Ba et al. 2016, without gains) in the trunk's dense "
        "layers, before the bias",
    )
    picture_scaling: Literal["unit", "centered", "standardized"] = Field(
        "standardized",
        description="how an observation's bytes are scaled: unit (0 to 1), centered (its mean "
        "subtracted), or standardized (mean 0, standard deviation 1); pictures only",
    )
    value_gradient: Literal["shared", "detached", "separate"] | None = Field(
        None,
        description="what the value loss trains: shared (the trunk, too), detached (its head "
        "alone), or separate (a network of its own); null: shared for pictures, separate for flat "
        "observations",
    )
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "auto",
        description="what the trunk computes in; weights and heads are float32 either way; auto: "
        "bfloat16 for pictures on a processor that computes in it, without an NVIDIA GPU, else "
        "float32; it is chosen when the run begins",
    )

    @property
    def sees_pictures(self) -> bool:
        """Whether the network takes pictures, not flat observations."""
        return self.network != "mlp"

    @property
    def usual_value_gradient(self) -> str:
        """What the value loss trains if nothing is set."""
        return "shared" if self.sees_pictures else "separate"


class RunSettings(_Group):
    """Run"""

    seed: int | None = Field(
        None, ge=0, lt=2**31, description="of all random numbers; null: drawn, printed and stored"
    )
    threads: int | None = Field(
        None,
        ge=1,
        le=256,
        description="threads that each worker computes with; null: one a core, at most 8",
    )
    workers: int = Field(
        1,
        ge=1,
        le=1024,
        description="processes that train one policy together; given by --workers, TF_CONFIG or "
        "Slurm, and stored",
    )
    log_interval: int = Field(1024, ge=1, description="steps between log entries")
    log_epochs: bool = Field(
        False, description="also log each epoch of the updates by itself, as epochs/*"
    )
    checkpoint_interval: int = Field(50_000, ge=1, description="steps between checkpoints")
    checkpoints_kept: int = Field(3, ge=1, description="newest checkpoints that are kept")
    keep_checkpoints_from: int | None = Field(
        None, ge=0, description="also keep every checkpoint from this step on; null: none"
    )
    keep_checkpoints_to: int | None = Field(
        None, ge=0, description="the last step of those; null: no end"
    )
    collapse_guard: Literal["off", "warn", "rollback"] = Field(
        "warn",
        description="what to do if the points per step fall by a quarter of what was reached (by "
        "more where they are noisy): nothing, warn, or put the healthy policy back with an "
        "eighth of the learning rate, at most three times",
    )
    diagnostics_interval: int = Field(
        20_000, ge=0, description="steps between diagnostics of gradient and network; 0: none"
    )
    evaluation_interval: int = Field(0, ge=0, description="steps between evaluations; 0: none")
    evaluation_games: int = Field(10, ge=1, le=10_000, description="whole games of an evaluation")
    replay_check_interval: int = Field(
        250_000,
        ge=0,
        description="steps between checks that an episode, played again in the background, goes "
        "as it did; 0: none",
    )
    video_interval: int = Field(250_000, ge=0, description="steps between videos; 0: none")


GROUPS: tuple[type[_Group], ...] = (
    GameSettings,
    TrainingSettings,
    ObjectiveSettings,
    NetworkSettings,
    RunSettings,
)


# These settings are chosen or drawn when a run begins, if they are left open; others stay null.
OPEN = (None, "auto")
LEFT_OPEN = (
    "seed",
    "threads",
    "sticky_action_probability",
    "precision",
    "clip_rewards",
    "value_gradient",
)

DECAYS = ("adam_beta_1", "adam_beta_2", "value_rescaling_decay")
ROUNDED_TO_1 = 1 - 2.0**-25  # and all numbers from it on, in float32

# Values of settings that older runs lack, where they differ from today's defaults.
EARLIER = {
    "precision": "float32",
    "fire_on_life_loss": False,
    "clip_rewards": True,
    "value_gradient": "shared",
}


class Surrogate(NamedTuple):
    """The form of the policy's loss, and its parameters, as ``losses.policy_loss`` takes them; by
    default the clipped surrogate.
    """

    form: str = "linear"
    delta_target_policy: str = "probability"
    beyond_target_slope: float = 0.0


class Params(RunSettings, NetworkSettings, ObjectiveSettings, TrainingSettings, GameSettings):
    """All settings of a run, as given. Frozen; derived sizes are properties, never keys.

    Raises pydantic's ValidationError for a value out of range, and for values that are
    inconsistent with each other.
    """

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        faults = inconsistencies(self, frozenset())
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def leaves_open(self, key: str) -> bool:
        """Whether a setting is left to the run's start, which draws or chooses it."""
        return key in LEFT_OPEN and getattr(self, key) in OPEN

    def resolved(
        self,
        seed: int,
        threads: int,
        sticky_action_probability: float,
        precision: str,
        clip_rewards: bool = True,
    ) -> "ResolvedParams":
        """The settings with each null, and auto, replaced; a value that was set is kept."""
        stands_for = {
            "seed": seed,
            "threads": threads,
            "sticky_action_probability": sticky_action_probability,
            "precision": precision,
            "clip_rewards": clip_rewards,
            "value_gradient": self.usual_value_gradient,
        }
        given = {key: value for key, value in self if value not in OPEN}
        return ResolvedParams(**(self.model_dump() | stands_for | given))

    @property
    def batch_size(self) -> int:
        """Steps of one rollout over all envs of a worker, B = T N."""
        return self.num_envs * self.num_steps

    @property
    def steps_per_iteration(self) -> int:
        """Steps of one rollout over all workers."""
        return self.workers * self.batch_size

    @property
    def minibatches_per_epoch(self) -> int:
        """Gradient steps of an epoch."""
        return self.num_minibatches * (self.workers if self.minibatch_per == "run" else 1)

    @property
    def minibatch_size(self) -> int:
        """Steps of one minibatch, or of a worker's part in it."""
        return self.batch_size // self.minibatches_per_epoch

    @property
    def num_iterations(self) -> int:
        """Rollouts of the whole run: total_steps rounded up to whole rollouts."""
        return -(-self.total_steps // self.steps_per_iteration)

    @property
    def whole_steps(self) -> int:
        """Steps of the whole run: total_steps rounded up to whole rollouts."""
        return self.num_iterations * self.steps_per_iteration

    @property
    def checkpoints_always_kept(self) -> range:
        """The steps whose checkpoints are kept beside the newest."""
        if self.keep_checkpoints_from is None:
            return range(0)
        last = self.whole_steps if self.keep_checkpoints_to is None else self.keep_checkpoints_to
        return range(self.keep_checkpoints_from, last + 1)

    @property
    def surrogate(self) -> Surrogate:
        """The surrogate that the settings choose."""
        slope = self.beyond_target_slope
        return Surrogate(
            "quadratic" if self.quadratic_policy_loss else "linear",
            self.delta_target_policy,
            float(self.peaked_policy_loss) if slope is None else slope,
        )

    def to_json(self) -> str:
        """The settings as a params file."""
        return json.dumps(self.model_dump(), indent=2) + "\n"


def only(what: str) -> list[str]:
    """The settings that have an effect on ``what`` alone, as their descriptions say."""
    fields = Params.model_fields.items()
    return [key for key, field in fields if str(field.description).endswith(f"; {what} only")]


class ResolvedParams(Params):
    """Settings in which nothing is left to be drawn or chosen."""

    sticky_action_probability: float = Field(ge=0, lt=1)
    seed: int = Field(ge=0, lt=2**31)
    threads: int = Field(ge=1, le=256)
    precision: Literal["float32", "bfloat16"]
    clip_rewards: bool
    value_gradient: Literal["shared", "detached", "separate"]


def inconsistencies(params: Params, bad: frozenset[str]) -> list[str]:
    """Inconsistencies between settings; those that involve an invalid one are skipped."""
    faults = [f for k, v in params if k not in bad and (f := _float32_fault(k, v))]
    if not bad & {"num_envs", "num_steps", "num_minibatches", "workers", "minibatch_per"}:
        faults += _minibatch_faults(params, bad)
    if not bad & {"peaked_policy_loss", "beyond_target_slope", "quadratic_policy_loss"}:
        faults += _surrogate_faults(params)
    if not bad & {"normalize_advantages", "advantage_std_floor"}:
        faults += _floor_faults(params)
    if not bad & {"target_kl", "target_kl_if_improved"}:
        faults += _early_stop_faults(params)
    return faults


def _float32_fault(key: str, value: Any) -> str | None:
    """Why the update, which computes in float32, would make 0 or infinity of a number, or 1 of a
    decay; None if it would not.
    """
    if not isinstance(value, float) or value == 0:
        return None
    if key in DECAYS and value >= ROUNDED_TO_1:
        return f"{key} = {value!r}: it is 1 in float32, in which training computes; choose less"
    if 2.0**-126 <= abs(value) < 2.0**128:
        return None
    what = "too small" if abs(value) < 1 else "too large"
    return f"{key} = {value!r}: {what} for float32, in which training computes"


def _surrogate_faults(params: Params) -> list[str]:
    slope = params.beyond_target_slope
    if params.quadratic_policy_loss and (params.peaked_policy_loss or slope is not None):
        other = "peaked_policy_loss" if params.peaked_policy_loss else "beyond_target_slope"
        return [
            f"quadratic_policy_loss and {other}: the parabola has its own slope beyond the target; "
            "choose one of them"
        ]
    if params.peaked_policy_loss and slope not in (None, 1):
        return [
            f"peaked_policy_loss and beyond_target_slope = {slope}: the peaked loss has the slope "
            "1; choose one of them"
        ]
    return []


def _floor_faults(params: Params) -> list[str]:
    if params.advantage_std_floor and not params.normalize_advantages:
        return [
            f"advantage_std_floor = {params.advantage_std_floor}: without normalize_advantages "
            "nothing is divided; choose one of them"
        ]
    return []


def _early_stop_faults(params: Params) -> list[str]:
    if params.target_kl_if_improved and params.target_kl is None:
        return ["target_kl_if_improved = true: without target_kl it has no effect; set both"]
    return []


def kept_faults(params: Params, bad: frozenset[str]) -> list[str]:
    """Why no checkpoint would be kept, of a run that asks for some. Runs that have begun may have
    such settings.
    """
    if bad & {"keep_checkpoints_from", "keep_checkpoints_to"}:
        return []
    first, last = params.keep_checkpoints_from, params.keep_checkpoints_to
    if last is None or (first is not None and first <= last):
        return []
    if first is None:
        return [
            f"keep_checkpoints_to = {last}: without keep_checkpoints_from none is kept; set both"
        ]
    return [f"keep_checkpoints_from = {first}: it is after keep_checkpoints_to = {last}; swap them"]


def _minibatch_faults(params: Params, bad: frozenset[str]) -> list[str]:
    batch = f"num_envs {params.num_envs} x num_steps {params.num_steps} = {params.batch_size}"
    if params.minibatches_per_epoch != params.num_minibatches:
        return _shared_minibatch_faults(params, batch)
    if params.batch_size % params.num_minibatches:
        left = params.batch_size % params.num_minibatches
        least = 2 if params.normalize_advantages and params.batch_size > 1 else 1
        near = max(
            n
            for n in range(1, params.num_minibatches)
            if params.batch_size % n == 0 and params.batch_size // n >= least
        )
        return [
            f"num_minibatches = {params.num_minibatches}: {batch} steps leave {left} over; "
            f"choose a divisor, such as {near}"
        ]
    if (
        params.minibatch_size == 1
        and params.normalize_advantages
        and not bad & {"normalize_advantages"}
    ):
        return [
            f"num_minibatches = {params.num_minibatches}: {batch} steps make minibatches of one "
            f"step, whose normalised advantage is always 0; {_larger_minibatches(params)}, or set "
            "normalize_advantages to false"
        ]
    return []


def _shared_minibatch_faults(params: Params, batch: str) -> list[str]:
    parts = params.minibatches_per_epoch
    whole = not params.batch_size % parts
    if whole and (params.minibatch_size > 1 or not params.normalize_advantages):
        return []
    return [
        f'minibatch_per = "run": {batch} steps of a worker do not make {params.num_minibatches} '
        f"minibatches x {params.workers} workers = {parts} parts of equal size, of two steps or "
        f"more; {_larger_minibatches(params)}, or another number of workers"
    ]


def _larger_minibatches(params: Params) -> str:
    """The remedy for minibatches that are too small."""
    return f"choose {'fewer minibatches' if params.num_minibatches > 1 else 'more steps or envs'}"
