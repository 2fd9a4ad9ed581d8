"""Every setting of a run: type, range, default, meaning and properties."""

from typing import Annotated, Any, ClassVar, Literal, NamedTuple, TypedDict, Unpack, get_args

from annotated_types import Ge, Le, Len
from pydantic import BaseModel, ConfigDict, Field, StringConstraints

Schedule = Literal["linear", "constant"]
SurrogateName = Literal["linear", "quadratic"]  # the rows of ``ppo.surrogates.SURROGATES``
# The rows of the two tables in ``ppo.model``.
ImageNetwork = Literal["nature", "a3c", "impala"]
FlatNetwork = Literal["mlp"]
BuiltIn = Literal[ImageNetwork, FlatNetwork]
Precision = Literal["float32", "bfloat16"]
Choice = Literal["sampled", "greedy"]  # how a policy chooses actions
CHOICES: tuple[Choice, ...] = get_args(Choice)
ValueGradient = Literal["shared", "detached", "separate"]
Function = Annotated[str, StringConstraints(pattern=r"^[\w.]+:\w+$")]  # MODULE:FUNCTION
Sizes = Annotated[list[Annotated[int, Ge(1), Le(8192)]], Len(1, 16)]
SEEDS = 2**31  # every seed is below it
MOST_STEPS = 10**12  # of a run, or of an interval


class Properties(TypedDict, total=False):
    """Further properties of a setting; ``marked`` lists the settings with a property."""

    only: Literal["Atari", "images", "mlp", "built-in networks"]  # where it has an effect
    idle: Any  # a second value that is accepted where the setting has no effect
    fixed: Literal["on resume", "on fork"]  # a resume cannot change it; "on fork": nor can a fork
    affects_learning: bool  # false if runs with other values learn the same; true by default
    sweep: Literal["resumes", "ignores"]  # what a sweep does with a run that has another value
    earlier: Any  # the value in runs older than the setting, if not the default
    off: Any  # the value that switches the setting's work off


def _setting(
    default: Any,
    *,
    ge: float | None = None,
    gt: float | None = None,
    le: float | None = None,
    lt: float | None = None,
    **properties: Unpack[Properties],
) -> Any:
    """A field with its limits and properties; its meaning is the text below it."""
    extra: Any = dict(properties)
    return Field(default, ge=ge, gt=gt, le=le, lt=lt, json_schema_extra=extra)


class _Group(BaseModel):
    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )

    shared: ClassVar[Properties] = {}  # properties of all settings of the group

    @classmethod
    def __pydantic_init_subclass__(cls, **_: Any) -> None:
        """Add the group's properties, and make one line of each meaning and where it has effect."""
        for field in map(cls.model_fields.get, cls.__annotations__):
            if field and field.description:
                own: Any = field.json_schema_extra
                field.json_schema_extra = own = {**cls.shared, **own}
                only = f"; {own['only']} only" if "only" in own else ""
                field.description = " ".join(field.description.split()) + only


class GameSettings(_Group):
    """Game"""

    shared = {"fixed": "on resume"}

    env_id: str = _setting("PongNoFrameskip-v4", fixed="on fork")
    """the game: an Atari id such as PongNoFrameskip-v4, ALE/Pong-v5 or Pong, or any Gymnasium
    environment with discrete actions; MODULE:ID imports MODULE, which runs its code
    """
    num_envs: int = _setting(16, ge=1, le=1024)
    """number of envs: copies of the game that each worker plays at once"""
    frame_skip: int = _setting(4, ge=1, le=64, only="Atari")
    """frames that one step (decision) lasts"""
    frame_stack: int = _setting(4, ge=1, le=16, only="Atari", fixed="on fork")
    """latest frames that the network sees"""
    screen_size: int = _setting(84, ge=36, le=210, only="Atari", fixed="on fork")
    """width and height of an observation, in pixels"""
    sticky_action_probability: float | None = _setting(None, ge=0, lt=1, only="Atari", idle=0.0)
    """chance per frame that the game repeats the previous action; null: as in the id (0 for
    NoFrameskip-v4, 0.25 for v5)
    """
    noop_max: int = _setting(30, ge=1, le=1000, only="Atari")
    """a game begins with 0 to noop_max - 1 no-op frames"""
    terminal_on_life_loss: bool = _setting(True, only="Atari")
    """true: a lost life ends the return; the game continues"""
    clip_rewards: bool | None = _setting(None, earlier=True)
    """train on the sign of the reward (scores remain unclipped); null: true in Atari games, else
    false
    """
    fire_on_reset: bool = _setting(True, only="Atari")
    """press FIRE when a game begins, if it has FIRE"""
    fire_on_life_loss: bool = _setting(True, only="Atari", earlier=False)
    """press FIRE in the step after a lost life, if the game has FIRE; the policy does not learn
    from that step
    """
    full_action_space: bool = _setting(False, only="Atari", fixed="on fork")
    """all 18 actions of the console, not only the actions that the game uses"""
    max_frames_per_game: int = _setting(108_000, ge=16, le=2**31 - 1)
    """time limit of a game, in frames"""


class TrainingSettings(_Group):
    """Training"""

    total_steps: int = _setting(10_000_000, ge=1, le=MOST_STEPS, sweep="resumes")
    """steps of the whole run, over all envs of all workers; rounded up to whole rollouts"""
    num_steps: int = _setting(128, ge=1, le=65_536, fixed="on resume")
    """steps of a rollout, per env"""
    num_epochs: int = _setting(6, ge=1, le=1000, fixed="on resume")
    """passes over each rollout"""
    num_minibatches: int = _setting(8, ge=1, le=65_536)
    """minibatches of each epoch"""
    minibatch_per: Literal["worker", "run"] = _setting("worker")
    """what several workers do in a gradient step. worker: each adds its own minibatch. run: all
    share one minibatch, so an epoch has workers x num_minibatches gradient steps
    """
    learning_rate: float = _setting(4e-4, gt=0, le=1)
    """initial learning rate of Adam"""
    learning_rate_schedule: Schedule = _setting("linear")
    """linear: falls to 0 at total_steps"""
    learning_rate_kl: float | None = _setting(None, gt=0)
    """adapt the learning rate to this approximate KL. Divide the rate by 1.5 after an update with
    more than twice this KL; multiply it by 1.5 after one with less than half. The schedule is the
    upper limit
    """
    adam_epsilon: float = _setting(1e-5, gt=0, le=1)
    """Adam's epsilon hat"""
    adam_beta_1: float = _setting(0.9, ge=0, lt=1)
    """decay of Adam's first moment"""
    adam_beta_2: float = _setting(0.999, ge=0, lt=1)
    """decay of Adam's second moment"""
    adam_reset: bool = _setting(False)
    """reset Adam's moments and count of steps to 0 before each update"""
    max_grad_norm: float = _setting(0.5, gt=0)
    """largest global norm of the gradient; a larger gradient is scaled down to it"""
    gamma: float = _setting(0.99, ge=0, le=1)
    """discount per step"""
    gae_lambda: float = _setting(0.95, ge=0, le=1)
    """lambda of GAE"""
    normalize_advantages: bool = _setting(True)
    """mean 0 and standard deviation 1 in each minibatch"""
    advantage_std_floor: float = _setting(0.0, ge=0)
    """lower bound of the divisor when advantages are normalised"""
    target_kl: float | None = _setting(None, gt=0)
    """end the update after an epoch whose mean approximate KL exceeds this"""
    target_kl_if_improved: bool = _setting(False)
    """let target_kl end the update only if the surrogate's mean over the epoch is better than the
    old policy's
    """
    minibatch_kl_limit: float | None = _setting(None, gt=0)
    """end the update before the step of a minibatch whose mean approximate KL exceeds this"""
    undo_beyond_kl_limit: bool = _setting(False)
    """when minibatch_kl_limit ends an update, also undo its last step, which exceeded the limit, as
    KLE-Rollback does (Dossa et al. 2021)
    """
    stop_at_score: float | None = _setting(None, off=None)
    """end the run when the mean score of the last 100 games reaches this"""


class ObjectiveSettings(_Group):
    """Objective"""

    clip_range: float = _setting(0.2, gt=0, lt=1)
    """initial epsilon of the surrogate"""
    clip_range_schedule: Schedule = _setting("constant")
    """linear: falls to 0 at total_steps"""
    entropy_coef: float = _setting(0.01, ge=0)
    """weight of the entropy bonus"""
    value_coef: float = _setting(0.5, ge=0)
    """weight of the value loss"""
    value_clip_range: float | None = _setting(None, gt=0)
    """clip range of the value, in units of the return; null: no clip"""
    feature_drift_coef: float = _setting(0.0, ge=0)
    """weight of the squared drift of the last hidden layer's pre-activations since the rollout"""
    delta_target_policy: Literal["probability", "logit"] = _setting("probability")
    """how clip_range sets the surrogate's target. probability: pi_old (1 +/- clip_range). logit:
    pi_old's logit +/- 2 atanh(clip_range)
    """
    peaked_policy_loss: bool = _setting(False)
    """slope 1 beyond the target, to pull samples back; the same as beyond_target_slope = 1"""
    beyond_target_slope: float | None = _setting(None, ge=0)
    """slope of the loss beyond the target, to pull samples back; null: 0 (the clipped loss), or 1
    with peaked_policy_loss
    """
    quadratic_policy_loss: bool = _setting(False)
    """a parabola with its minimum at the target, instead of the clip"""
    value_rescaling: Literal["none", "per_state", "per_batch", "smoothed"] = _setting("none")
    """factor of the value loss. none: 1. per_state: the pseudo-entropy of each state's policy.
    per_batch: its mean over the minibatch. smoothed: a moving average of these means
    """
    value_rescaling_decay: float = _setting(0.95, ge=0, lt=1)
    """decay of the smoothed mean from minibatch to minibatch"""


class NetworkSettings(_Group):
    """Network"""

    shared = {"fixed": "on resume"}

    network: BuiltIn | Function = _setting("nature", fixed="on fork")
    """nature (Mnih et al. 2015), a3c (Mnih et al. 2016; the PPO paper's), impala (Espeholt et al.
    2018, residual, far slower), mlp for vector observations, or MODULE:FUNCTION, a trunk of your
    own: MODULE is imported, which runs its code
    """
    mlp_sizes: Sizes = _setting([64, 64], only="mlp", fixed="on fork")
    """units of each hidden layer"""
    network_width: int = _setting(1, ge=1, le=16, only="images", fixed="on fork")
    """factor of the number of filters in each convolution"""
    layer_norm: bool = _setting(False, only="built-in networks", fixed="on fork")
    """layer normalisation (Ba et al. 2016, without gains) in the trunk's dense layers, before the
    bias
    """
    picture_scaling: Literal["unit", "centered", "standardized"] = _setting(
        "unit", only="images", idle="standardized"
    )
    """how an observation's bytes are scaled: unit (0 to 1), centered (its mean subtracted), or
    standardized (mean 0, standard deviation 1)
    """
    value_gradient: ValueGradient | None = _setting(None, earlier="shared")
    """what the value loss trains: shared (its head and the trunk), detached (its head only), or
    separate (a second network); null: separate for mlp, else shared
    """
    precision: Literal[Precision, "auto"] = _setting("auto", earlier="float32")
    """what the trunk computes in; weights and heads are always float32. auto, decided when the run
    begins: bfloat16 for images if the processor is faster in it (AMX, or AMD's AVX512-BF16) and
    there is no NVIDIA GPU, else float32
    """

    @property
    def is_custom(self) -> bool:
        """Whether the network's trunk is a user function."""
        return self.network not in get_args(BuiltIn)

    @property
    def sees_images(self) -> bool:
        """Whether the network is one of the package's own image networks."""
        return self.network in get_args(ImageNetwork)

    @property
    def usual_value_gradient(self) -> str:
        """What the value loss trains if nothing is set."""
        return "separate" if self.network in get_args(FlatNetwork) else "shared"


class RunSettings(_Group):
    """Run"""

    shared = {"affects_learning": False}

    seed: int | None = _setting(None, ge=0, lt=SEEDS, fixed="on resume")
    """random seed; null: choose one, print it and store it"""
    threads: int | None = _setting(None, ge=1, le=256, fixed="on resume", sweep="ignores")
    """threads that each worker computes with; null: one per core, at most 8"""
    workers: int = _setting(1, ge=1, le=1024, fixed="on resume", affects_learning=True)
    """processes that train one policy together; given by --workers, TF_CONFIG or Slurm, and stored
    """
    log_interval: int = _setting(1024, ge=1, le=MOST_STEPS)
    """steps between log entries"""
    log_epochs: bool = _setting(False)
    """also log each epoch of an update separately, as epochs/*"""
    checkpoint_interval: int = _setting(50_000, ge=1, le=MOST_STEPS, sweep="resumes")
    """steps between checkpoints"""
    checkpoints_kept: int = _setting(3, ge=1, le=MOST_STEPS, sweep="resumes")
    """how many of the newest checkpoints to keep"""
    keep_checkpoints_from: int | None = _setting(
        None, ge=0, le=MOST_STEPS, sweep="ignores", off=None
    )
    """also keep every checkpoint from this step on; null: none"""
    keep_checkpoints_to: int | None = _setting(None, ge=0, le=MOST_STEPS, sweep="ignores", off=None)
    """last step that keep_checkpoints_from keeps; null: to the end"""
    collapse_guard: Literal["off", "warn", "rollback"] = _setting(
        "warn", off="off", affects_learning=True
    )
    """what to do after a collapse: a loss of a quarter of the distance from the best points per
    step to the lowest, or to 0 if that is further. Noisy runs must lose more. off: nothing.
    warn: print a warning. rollback: restore the healthy policy with an eighth of the learning
    rate, at most three times
    """
    diagnostics_interval: int = _setting(20_000, ge=0, le=MOST_STEPS, off=0)
    """steps between diagnostics of gradient and network; 0: none"""
    evaluation_interval: int = _setting(0, ge=0, le=MOST_STEPS, off=0)
    """steps between evaluations; 0: none"""
    evaluation_games: int = _setting(10, ge=1, le=10_000)
    """whole games of an evaluation"""
    replay_check_interval: int = _setting(250_000, ge=0, le=MOST_STEPS, off=0)
    """steps between checks that a replayed episode matches its record; 0: none"""
    video_interval: int = _setting(250_000, ge=0, le=MOST_STEPS, sweep="resumes", off=0)
    """steps between videos; 0: none"""
    wandb_project: str | None = _setting(None, sweep="resumes", off=None)
    """project at Weights & Biases that gets a copy of settings, scalars and videos; null: none. It
    needs: pip install wandb. WANDB_MODE=offline in the environment keeps the copy in the run's
    folder
    """


GROUPS = (GameSettings, TrainingSettings, ObjectiveSettings, NetworkSettings, RunSettings)


class SurrogateChoice(NamedTuple):
    """The surrogate, its target's space and its slope, for ``surrogates.policy_loss``. The default
    is the clipped surrogate of the PPO paper.
    """

    surrogate: SurrogateName = "linear"
    delta_target_policy: str = "probability"
    beyond_target_slope: float = 0.0


class AllSettings(RunSettings, NetworkSettings, ObjectiveSettings, TrainingSettings, GameSettings):
    """The settings of all groups, and what follows from them."""

    model_config = ConfigDict(use_attribute_docstrings=False)  # the groups have read them

    @property
    def batch_size(self) -> int:
        """Steps of one rollout over all envs of a worker, B = T N."""
        return self.num_envs * self.num_steps

    @property
    def steps_per_iteration(self) -> int:
        return self.workers * self.batch_size

    @property
    def minibatches_per_epoch(self) -> int:
        return self.num_minibatches * (self.workers if self.minibatch_per == "run" else 1)

    @property
    def minibatch_size(self) -> int:
        """Steps of one minibatch, or of a worker's part in it."""
        return self.batch_size // self.minibatches_per_epoch

    @property
    def num_iterations(self) -> int:
        """Number of rollouts that total_steps needs, rounded up."""
        return self.whole_steps // self.steps_per_iteration

    @property
    def whole_steps(self) -> int:
        """Steps of a whole new run: total_steps rounded up to whole rollouts."""
        return self.end_from(0)

    def end_from(self, step: int) -> int:
        """Return the step at which a run that is at ``step`` ends: total_steps rounded up to whole
        rollouts from there. A fork may begin between two rollouts of its size.
        """
        size = self.steps_per_iteration
        return step - (step - self.total_steps) // size * size

    @property
    def checkpoints_always_kept(self) -> range:
        """The steps whose checkpoints are kept beside the newest."""
        if self.keep_checkpoints_from is None:
            return range(0)
        last = MOST_STEPS if self.keep_checkpoints_to is None else self.keep_checkpoints_to
        return range(self.keep_checkpoints_from, last + 1)

    @property
    def uses_clipped_surrogate(self) -> bool:
        """Whether the surrogate is ``losses.clipped_surrogate``, as in the PPO paper."""
        return self.surrogate_choice == SurrogateChoice()

    @property
    def surrogate_choice(self) -> SurrogateChoice:
        slope = self.beyond_target_slope
        return SurrogateChoice(
            "quadratic" if self.quadratic_policy_loss else "linear",
            self.delta_target_policy,
            float(self.peaked_policy_loss) if slope is None else slope,
        )
