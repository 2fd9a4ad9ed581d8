"""Every setting of a run: type, range, default and meaning, read from a flat JSON file.

All faults of a file are listed at once, each with its remedy, before anything is created.
"""

import difflib
import json
import stat
import typing
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ppo import elsewhere, presets

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
    num_envs: int = Field(8, ge=1, le=1024, description="envs: games each worker plays at once")
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
        "stands for (0 for NoFrameskip-v4, 0.25 for v5)",
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
    clip_rewards: bool = Field(
        True, description="train on the sign of the reward (scores stay unclipped)"
    )
    fire_on_reset: bool = Field(
        True, description="press FIRE when a game begins, if it has FIRE; Atari only"
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
    num_epochs: int = Field(4, ge=1, le=1000, description="passes over each rollout")
    num_minibatches: int = Field(4, ge=1, le=65_536, description="minibatches of each epoch")
    minibatch_per: Literal["worker", "run"] = Field(
        "worker",
        description="with several workers: each contributes a minibatch of its own to every "
        "gradient step, which is then over workers times as many steps (worker), or all share out "
        "one, and an epoch has workers times as many gradient steps (run)",
    )
    learning_rate: float = Field(2.5e-4, gt=0, le=1, description="initial learning rate of Adam")
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

    clip_range: float = Field(0.1, gt=0, lt=1, description="initial epsilon of the surrogate")
    clip_range_schedule: Schedule = Field("linear", description="linear falls to 0 at total_steps")
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
        "nature",
        description="nature (Mnih et al. 2015), a3c (Mnih et al. 2016; the PPO paper's), impala "
        "(Espeholt et al. 2018, residual, far slower), or mlp for flat observations",
    )
    network_width: int = Field(
        1, ge=1, le=16, description="times as many filters in each convolution; pictures only"
    )
    picture_scaling: Literal["unit", "centered", "standardized"] = Field(
        "unit",
        description="how an observation's bytes are scaled: unit (0 to 1), centered (its mean "
        "subtracted), or standardized (mean 0, standard deviation 1); pictures only",
    )
    value_gradient: Literal["shared", "detached", "separate"] = Field(
        "shared",
        description="what the value loss trains: shared (the trunk, too), detached (its head "
        "alone), or separate (a network of its own)",
    )
    precision: Literal["float32", "bfloat16", "auto"] = Field(
        "auto",
        description="what the trunk computes in; weights and heads are float32 either way; auto: "
        "bfloat16 for pictures on a processor that computes in it, else float32; it is chosen when "
        "the run begins",
    )


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
        description="what to do if the points per step fall by half of what was reached: nothing, "
        "warn, or put the healthy policy back with half the learning rate, at most three times",
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


# A setting that is left open has one of these, and is chosen or drawn when a run begins; some that
# are null stay so.
OPEN = (None, "auto")


class Params(RunSettings, NetworkSettings, ObjectiveSettings, TrainingSettings, GameSettings):
    """All settings of a run, as given. Frozen; derived sizes are properties, never keys.

    Raises pydantic's ValidationError for a value out of range, and for values that are
    inconsistent with each other.
    """

    @model_validator(mode="after")
    def _consistent(self) -> "Params":
        faults = _inconsistencies(self, frozenset())
        if faults:
            raise ValueError("\n".join(faults))
        return self

    def resolved(
        self, seed: int, threads: int, sticky_action_probability: float, precision: str
    ) -> "ResolvedParams":
        """The settings with each null, and auto, replaced; a value that was set is kept."""
        stands_for = {
            "seed": seed,
            "threads": threads,
            "sticky_action_probability": sticky_action_probability,
            "precision": precision,
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
    def slope_beyond_target(self) -> float:
        """Slope of the surrogate beyond its target, from either of its settings."""
        if self.beyond_target_slope is not None:
            return self.beyond_target_slope
        return 1.0 if self.peaked_policy_loss else 0.0

    def to_json(self) -> str:
        """The settings as a params file."""
        return json.dumps(self.model_dump(), indent=2) + "\n"


class ResolvedParams(Params):
    """Settings in which nothing is left to be drawn or chosen."""

    sticky_action_probability: float = Field(ge=0, lt=1)
    seed: int = Field(ge=0, lt=2**31)
    threads: int = Field(ge=1, le=256)
    precision: Literal["float32", "bfloat16"]


class ParamsError(ValueError):
    """Every fault of a params file: ``faults`` is a list of lines."""

    def __init__(self, faults: Sequence[str]):
        self.faults = list(faults)
        super().__init__("\n".join(self.faults))


Check = Callable[[Params, frozenset[str]], list[str]]


def load(path: str | Path, overrides: Sequence[str] = (), checks: Sequence[Check] = ()) -> Params:
    """The settings in a JSON file, with ``KEY=VALUE`` overrides on top.

    ``checks`` are validations that need other modules, such as the names of the games: each
    takes the settings and the keys already known to be invalid, and returns faults. Raises
    ParamsError with all faults at once.
    """
    values, faults = _read_file(Path(path))
    return _checked(values, faults, overrides, checks)


def of_game(
    env_id: str, network: str, overrides: Sequence[str] = (), checks: Sequence[Check] = ()
) -> Params:
    """The defaults for a game and a network, as ``load`` of a file that names nothing else."""
    return _checked({"env_id": env_id, "network": network}, [], overrides, checks)


def of_workers(settings: Params, count: int) -> Params:
    """The settings of a run that is started as so many workers. Raises ParamsError."""
    if settings.workers not in (1, count):
        raise ParamsError(
            [
                f"workers = {settings.workers}: the run was started with {count}; leave the "
                f"setting out, or start the run with --workers={settings.workers}"
            ]
        )
    return _checked(settings.model_dump() | {"workers": count}, [], [], [])


def _checked(
    values: dict[str, Any],
    faults: Sequence[str],
    overrides: Sequence[str],
    checks: Sequence[Check],
) -> Params:
    faults = list(faults)
    values.pop("$schema", None)
    for text in overrides:
        faults += _override(values, text)
    faults += [_unknown(key, values) for key in values if key not in Params.model_fields]
    values = {
        key: _whole(key, value) for key, value in values.items() if key in Params.model_fields
    }
    bad = _bad_keys(values)
    faults += [_fault(key, values[key]) for key in bad]
    # Not validated here, so that inconsistencies are listed together with the other faults.
    rest = Params.model_construct(**{k: value for k, value in values.items() if k not in bad})
    for check in (_inconsistencies, *checks):
        faults += check(rest, bad)
    if faults:
        raise ParamsError(faults)
    return Params(**values)


def _read_file(path: Path) -> tuple[dict[str, Any], list[str]]:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe may never end
            raise ValueError("not a regular file")
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        remedy = f"give a JSON file of settings or a preset: {', '.join(presets.names())}"
        return {}, [f"{path}: cannot be read ({reason}); {remedy}"]
    try:
        values, faults = _parse(text)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        return {}, [f"{path}: not valid JSON at {where}: {error.msg}"]
    except RecursionError:
        return {}, [f"{path}: nested too deeply; a params file is one flat object"]
    except ValueError as error:
        return {}, [f"{path}: {error}"]
    if not isinstance(values, dict):
        return {}, [f'{path}: must hold one JSON object, such as {{"env_id": "Pong"}}']
    return values, faults


def _parse(text: str) -> tuple[Any, list[str]]:
    """JSON, and the faults that Python's parser does not report: duplicate keys.

    NaN and Infinity are parsed as floats, which every setting rejects.
    """
    faults = []

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in found]
        for key in sorted({key for key in keys if keys.count(key) > 1}):
            faults.append(f"duplicate key {_show(key)}; keep one of them")
        return dict(found)

    return json.loads(text, object_pairs_hook=pairs), faults


def _override(values: dict[str, Any], text: str) -> list[str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        return [f"{text}: an override is written KEY=VALUE"]
    try:
        values[name], faults = _parse(value)
    except (json.JSONDecodeError, RecursionError):
        values[name] = value  # a bare word is a string, so that --set network=a3c works
        return []
    except ValueError as error:
        return [f"{name}: {error}"]
    return [f"{text}: {fault}" for fault in faults]


def _bad_keys(values: Mapping[str, Any]) -> frozenset[str]:
    try:
        Params(**values)
    except ValidationError as error:
        # An inconsistency has no key of its own.
        return frozenset(str(detail["loc"][0]) for detail in error.errors() if detail["loc"])
    return frozenset()


def _whole(key: str, value: Any) -> Any:
    """1e6, a float in JSON, as the whole number that it is, where one is wanted; beyond 2^53 not
    every whole number is a float.
    """
    whole = isinstance(value, float) and value.is_integer() and abs(value) <= 2**53
    return int(value) if whole and _form(key).type is int else value


def _unknown(key: str, values: Mapping[str, Any]) -> str:
    if known := elsewhere.hint(key, values):
        return f"{_show(key)}: there is no such setting; {known}"
    close = difflib.get_close_matches(key, Params.model_fields, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]}?" if close else "--describe-params lists all keys"
    return f"{_show(key)}: there is no such setting; {hint}"


def _fault(key: str, value: Any) -> str:
    return f"{key} = {_show(value)}: must be {type_and_range(key)} (default {default_of(key)})"


def _show(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _inconsistencies(params: Params, bad: frozenset[str]) -> list[str]:
    """Inconsistencies between settings; those that involve an invalid one are skipped."""
    faults = [_float32_fault(k, v) for k, v in params if k not in bad and not _fits_float32(v)]
    if not bad & {"num_envs", "num_steps", "num_minibatches", "workers", "minibatch_per"}:
        faults += _minibatch_faults(params, bad)
    if not bad & {"peaked_policy_loss", "beyond_target_slope", "quadratic_policy_loss"}:
        faults += _surrogate_faults(params)
    if not bad & {"normalize_advantages", "advantage_std_floor"}:
        faults += _floor_faults(params)
    if not bad & {"target_kl", "target_kl_if_improved"}:
        faults += _early_stop_faults(params)
    return faults


def _fits_float32(value: Any) -> bool:
    """Whether the update, which computes in float32, makes neither 0 nor infinity of a number."""
    return not isinstance(value, float) or value == 0 or 2.0**-126 <= abs(value) < 2.0**128


def _float32_fault(key: str, value: float) -> str:
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


def _minibatch_faults(params: Params, bad: frozenset[str]) -> list[str]:
    batch = f"num_envs {params.num_envs} x num_steps {params.num_steps} = {params.batch_size}"
    if params.minibatches_per_epoch != params.num_minibatches:
        return _shared_minibatch_faults(params, batch)
    if params.batch_size % params.num_minibatches:
        left = params.batch_size % params.num_minibatches
        near = max(n for n in range(1, params.num_minibatches) if params.batch_size % n == 0)
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
            "step, whose normalised advantage is always 0; choose fewer minibatches or set "
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
        "more; choose fewer minibatches, or another number of workers"
    ]


class _Form(NamedTuple):
    """A setting's type, without None; its limits; and whether it may be null."""

    type: Any
    limits: list[Any]
    nullable: bool


def _form(key: str) -> _Form:
    field = Params.model_fields[key]
    annotation: Any = field.annotation
    limits = list(field.metadata)
    nullable = type(None) in typing.get_args(annotation)
    if nullable:
        annotation = typing.get_args(annotation)[0]
    if typing.get_origin(annotation) is Annotated:
        annotation, *inner = typing.get_args(annotation)
        limits += inner
    return _Form(annotation, limits, nullable)


def type_and_range(key: str) -> str:
    """A setting's type and range: "float, above 0, at most 1, or null"."""
    annotation, limits, nullable = _form(key)
    if typing.get_origin(annotation) is Literal:
        words = [" or ".join(json.dumps(choice) for choice in typing.get_args(annotation))]
    else:
        words = [_TYPE_NAMES[annotation]]
    words += [_bound(limit) for limit in limits if isinstance(limit, Ge | Gt | Le | Lt)]
    return ", ".join(words) + (", or null" if nullable else "")


_TYPE_NAMES = {int: "int", float: "float", str: "string", bool: "true or false"}


def _bound(limit: Any) -> str:
    word, value = {
        Ge: ("at least", "ge"),
        Gt: ("above", "gt"),
        Le: ("at most", "le"),
        Lt: ("below", "lt"),
    }[type(limit)]
    return f"{word} {getattr(limit, value):,}".replace(",", "")


def default_of(key: str) -> str:
    """A setting's default, as JSON."""
    return json.dumps(Params.model_fields[key].default)


def describe(markdown: bool = False) -> str:
    """Every setting with type, range, default and meaning: one line a key, or Markdown tables."""
    lines: list[str] = []
    for group in GROUPS:
        rows = [
            (key, type_and_range(key), default_of(key), str(field.description))
            for key, field in group.model_fields.items()
        ]
        if markdown:
            lines += ["", f"## {group.__doc__}", "", "| key | type and range | default | meaning |"]
            lines += ["| --- | --- | --- | --- |"]
            lines += [f"| `{k}` | {t} | `{d}` | {m} |" for k, t, d, m in rows]
        else:
            lines += ["\t".join(row) for row in rows]
    return "\n".join(lines).strip("\n") + "\n"


def entries() -> list[tuple[str, str, str]]:
    """Every setting: its key, its meaning, and its default, type and range."""
    return [
        (key, str(field.description), f"default {default_of(key)}; {type_and_range(key)}")
        for key, field in Params.model_fields.items()
    ]
