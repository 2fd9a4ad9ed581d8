"""The name and meaning of every scalar of a run.

A name with {epoch}, {layer}, {trunk_layer} or {action} in it is a scalar for each of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from ppo.system import tables


@dataclass(frozen=True)
class Metric:
    """A scalar: its meaning, its unit, its course in a healthy run, and the remedy otherwise. It
    also has the limits that no healthy run left for several log entries in a row. A log entry has
    the mean since the last one, or the value of the update in which the scalar ``peak`` was
    largest. Rarely needed scalars are only in ``progress.csv``.
    """

    tag: str
    unit: str
    meaning: str
    healthy: str
    remedy: str
    low: float | None = None
    high: float | None = None
    csv_only: bool = False
    peak: str = ""

    @property
    def limits(self) -> str:
        if self.low is not None and self.high is not None:
            return f"{self.low:g} to {self.high:g}"
        if self.low is not None:
            return f"above {self.low:g}"
        return "" if self.high is None else f"below {self.high:g}"

    def outside(self, value: float) -> bool:
        below = self.low is not None and value < self.low
        return below or (self.high is not None and value > self.high)

    @property
    def good(self) -> str:
        return "; ".join(filter(None, [self.limits, self.healthy]))

    def with_unit(self, meaning: str) -> str:
        """Return the meaning, followed by the unit if there is one."""
        return f"{meaning} ({self.unit})" if self.unit else meaning

    @property
    def description(self) -> str:
        healthy = f"**Healthy:** {self.good}" if self.good else ""
        remedy = f"**If not:** {self.remedy}" if self.remedy else ""
        return "\n\n".join(filter(None, [self.with_unit(self.meaning), healthy, remedy]))


SCORE, POINTS = "rollout/ep_rew_mean", "rollout/points_per_step"

METRICS: tuple[Metric, ...] = (
    Metric(
        "rollout/ep_rew_mean",
        "points",
        "mean score of the last 100 whole games: the true score, never clipped",
        "rises; in Pong from -20.4 (random) to 21",
        "flat for long: see train/entropy_loss and train/clip_fraction; falling: see "
        "train/approx_kl",
    ),
    Metric(
        "rollout/ep_len_mean",
        "steps",
        "mean length of the last 100 whole games, in decisions of the agent (Stable-Baselines3 "
        "counts frames under this tag: frame_skip times as many)",
        "depends on the game",
        "at the time limit: the agent may be stalling (in Breakout, not pressing FIRE)",
    ),
    Metric(
        "rollout/ep_rew_best",
        "points",
        "best score of a single game so far",
        "rises",
        "far above the mean: the policy is good but inconsistent",
    ),
    Metric(
        "rollout/points_per_step",
        "points/step",
        "what the games scored in the rollout itself, never clipped: the policy as it is now, "
        "while the mean of 100 games lags",
        "rises; in Pong from -0.024 (random) to 0.012",
        "a sudden fall: the last updates broke the policy",
    ),
    Metric("rollout/games", "games", "whole games finished so far", "rises", ""),
    Metric(
        "time/fps",
        "steps/s",
        "steps per second since the last log entry, everything included (Stable-Baselines3's "
        "name; multiply by frame_skip for frames per second)",
        "steady",
        "falling: other programs use the cores; compare the two phase times below",
    ),
    Metric(
        "time/time_elapsed",
        "s",
        "wall-clock time of the run so far, start-up included, summed over all its starts; steps "
        "repeated after a kill count once",
        "rises",
        "",
        csv_only=True,
    ),
    Metric("time/frames", "frames", "emulator frames so far: steps times frame_skip", "rises", ""),
    Metric(
        "time/rollout_seconds",
        "s",
        "time to play one rollout",
        "steady",
        "larger than time/update_seconds: the games limit the speed",
    ),
    Metric("time/update_seconds", "s", "time of one update, all its epochs", "steady", ""),
    Metric(
        "train/learning_rate",
        "",
        "learning rate of the update",
        "follows learning_rate_schedule",
        "",
    ),
    Metric("train/clip_range", "", "clip range of the update", "follows clip_range_schedule", ""),
    Metric(
        "train/loss",
        "",
        "the whole objective, with its coefficients",
        "not informative by itself: its terms move in opposite directions",
        "",
    ),
    Metric(
        "train/policy_gradient_loss",
        "",
        "mean of the surrogate",
        "slightly below 0",
        "above 0: the updates are too large, lower the learning rate",
        high=0.05,
    ),
    Metric(
        "train/surrogate_gain",
        "",
        "how much the surrogate has improved on the old policy, on the rollout's own samples, over "
        "all epochs",
        "above 0",
        "as for train/surrogate_gain_last",
        csv_only=True,
    ),
    Metric(
        "train/surrogate_gain_last",
        "",
        "train/surrogate_gain of the last epoch that ran",
        "above 0 on the mean",
        "below 0: the update ended worse than it began, by its own measure: lower learning_rate",
        low=-0.03,
    ),
    Metric(
        "train/value_loss",
        "squared return",
        "half the squared error of the values (with value_clip_range the larger one, see "
        "docs/algorithm.md), before coefficient and rescaling; Stable-Baselines3 does not halve it",
        "falls, then follows the scale of the returns",
        "rising for long: the values lag behind; more epochs or a lower learning rate",
    ),
    Metric(
        "train/entropy_loss",
        "nats",
        "minus the mean entropy of the policy; -log(number of actions) when it is uniform",
        "rises slowly from -log(number of actions) towards 0",
        "near 0 while the score is low: premature convergence, raise entropy_coef",
        high=-0.02,
    ),
    Metric(
        "train/approx_kl",
        "nats",
        "mean of (r - 1) - log r, an estimate of KL(old | new), over all epochs",
        "0.001 to 0.03 in Pong, on the mean up to 0.034 in other games",
        "above: lower learning_rate",
        high=0.05,
    ),
    Metric(
        "train/approx_kl_max",
        "nats",
        "largest mean of an epoch of the update",
        "",
        "as for train/approx_kl",
        high=0.1,
        peak="train/approx_kl_max",
    ),
    Metric(
        "train/clip_fraction",
        "share",
        "samples whose ratio is more than the clip range from 1, whatever the target",
        "0.05 to 0.3",
        "above: smaller steps; 0: larger ones",
        high=0.4,
    ),
    Metric(
        "train/explained_variance",
        "share",
        "1 - Var(returns - values) / Var(returns), before the update; empty if all returns are "
        "equal",
        "rises towards 1",
        "below 0: the values are worse than a constant",
    ),
    Metric(
        "train/grad_norm",
        "",
        "global norm of the gradient, before it is clipped",
        "0.1 to 5",
        "always far above max_grad_norm: clipping sets the size of every step",
        high=10.0,
    ),
    Metric(
        "train/grad_cut",
        "share",
        "share of the gradient that the clip of its norm cut, 1 - max_grad_norm / norm",
        "",
        "near 1: clipping sets the size of every step",
        high=0.95,
        csv_only=True,
    ),
    Metric("train/n_updates", "epochs", "epochs so far, as Stable-Baselines3 counts", "rises", ""),
    Metric(
        "train/rollbacks",
        "rollbacks",
        "how often collapse_guard has put the healthy policy back so far, and cut the rate",
        "0",
        "above: --explain tells what came first",
        csv_only=True,
    ),
    Metric(
        "train/pseudo_entropy",
        "",
        "mean of H' = sum of pi (1 - pi) over the actions",
        "falls slowly from 1 - 1/N (uniform over N actions)",
        "near 0: the policy is nearly deterministic, and the value loss alone drives the trunk",
        low=0.02,
    ),
    Metric(
        "train/value_scale",
        "",
        "mean scale that value_rescaling gives the value loss; 1 without it",
        "as train/pseudo_entropy",
        "near 0: the values are hardly trained any more",
    ),
    Metric(
        "train/target_distance",
        "",
        "mean of |t - 1|, the distance of the surrogate's target from the old policy, as a ratio",
        "the clip range; with the logit target between 0 and, for rare actions, twice that",
        "",
        csv_only=True,
    ),
    Metric(
        "train/beyond_target",
        "share",
        "samples whose ratio is beyond its target, where the clipped loss has no gradient",
        "",
        "rising: updates for other samples move these too; smaller steps, fewer epochs, or a loss "
        "that pulls back",
        high=0.4,
    ),
    Metric(
        "train/ratio",
        "",
        "mean of r = pi / pi_old",
        "",
        "as for train/approx_kl",
        low=0.9,
        high=1.1,
        csv_only=True,
    ),
    Metric(
        "train/ratio_max",
        "",
        "largest ratio of any sample in any epoch",
        "mostly below 5",
        "large while train/approx_kl is small: a rare action was taken; both large: smaller steps",
        high=30.0,
        peak="train/ratio_max",
    ),
    Metric(
        "train/ratio_distance",
        "",
        "mean of |r - 1|",
        "below the clip range",
        "as for train/approx_kl",
        high=0.3,
        csv_only=True,
    ),
    Metric(
        "train/ratio_above",
        "",
        "mean ratio of the samples above 1 + clip_range; empty if there are none",
        "",
        "rising: ratios escape where the clipped loss has no gradient; smaller steps, or a loss "
        "that pulls back",
        high=2.5,
        csv_only=True,
    ),
    Metric(
        "train/ratio_below",
        "",
        "mean ratio of the samples below 1 - clip_range; empty if there are none",
        "",
        "falling: as for train/ratio_above",
        low=0.3,
        csv_only=True,
    ),
    Metric(
        "train/update_kl",
        "nats",
        "mean KL(old | new) of the whole update over the rollout's observations, every "
        "diagnostics_interval steps",
        "0.001 to 0.05",
        "as for train/approx_kl",
        csv_only=True,
    ),
    Metric(
        "train/minibatch_kl_max",
        "nats",
        "largest mean approximate KL of a minibatch, before its step",
        "",
        "above: the update went too far; minibatch_kl_limit ends it there",
        high=0.3,
        peak="train/minibatch_kl_max",
    ),
    Metric(
        "train/minibatch_kl_argmax",
        "",
        "index, from 1 through all epochs, of the minibatch with the largest KL",
        "in the last epoch",
        "in the first: single steps are too large",
        csv_only=True,
        peak="train/minibatch_kl_max",
    ),
    Metric(
        "train/advantage_std",
        "points",
        "standard deviation of the rollout's advantages, before they are normalised",
        "falls as the values get better",
        "",
    ),
    Metric(
        "train/advantage_scale",
        "",
        "factor by which normalising multiplies the advantages; empty if all advantages are equal "
        "or not normalised",
        "",
        "far above: normalising amplifies noise to the size of a signal; see advantage_std_floor",
        high=100.0,
        csv_only=True,
    ),
    Metric(
        "epochs/approx_kl_{epoch}",
        "nats",
        "mean approximate KL in one epoch of the update",
        "rises slowly from epoch to epoch",
        "jumps in the last epochs: fewer epochs, or target_kl",
    ),
    Metric(
        "epochs/approx_kl_max_{epoch}",
        "nats",
        "largest approximate KL of a sample in one epoch of the update",
        "below 1",
        "jumps in the last epochs: fewer epochs, or target_kl",
        peak="epochs/approx_kl_max_{epoch}",
    ),
    Metric("epochs/ratio_{epoch}", "", "mean ratio in one epoch", "0.99 to 1.01", ""),
    Metric(
        "epochs/ratio_max_{epoch}",
        "",
        "largest ratio in one epoch",
        "below 3",
        "",
        peak="epochs/ratio_max_{epoch}",
    ),
    Metric(
        "actions/share_{action}",
        "share",
        "how often the policy took each action in its rollouts",
        "all above 0 early on",
        "one near 1: the policy plays a single action; if the score falls too, it has collapsed",
    ),
    Metric(
        "trunk/value_share",
        "share",
        "share of the value loss in the shared trunk's gradient, "
        "|g_v| / (|g_v| + |g_p|), before the update",
        "falls as the policy gets better",
        "near 1: the value drives the trunk; begin a new run with value_gradient=separate, or "
        "lower value_coef",
        high=0.9,
    ),
    Metric(
        "trunk/value_cosine",
        "",
        "cosine between the gradients of value loss and policy loss in the shared trunk",
        "around 0",
        "far below 0 for long: value and policy gradients conflict",
    ),
    Metric(
        "trunk/rank",
        "",
        "effective rank of the policy's last hidden layer: the smallest number of singular values "
        "whose squares make up 99 percent of the sum; measured on as many samples as units",
        "steady",
        "falling towards 1: the layer no longer distinguishes observations",
        low=2.0,
    ),
    Metric(
        "trunk/preactivation_norm",
        "",
        "mean norm of the pre-activations of the policy's last hidden layer; with layer_norm near "
        "the root of the number of units, because only the biases change it",
        "steady",
        "rising without end: the features grow; see feature_drift_coef",
        csv_only=True,
    ),
    Metric(
        "trunk/halves_cosine",
        "",
        "cosine between the policy's gradients from two halves of the rollout, before the update",
        "above 0",
        "around 0: the gradient is noise; larger rollouts, or a lower learning_rate",
        csv_only=True,
    ),
    Metric(
        "layers/grad_norm_{layer}",
        "",
        "norm of the gradient in one layer, before the update",
        "all of the same order of magnitude",
        "one far above the rest: that layer dominates the clipped norm",
        csv_only=True,
    ),
    Metric(
        "layers/step_{layer}",
        "learning rates",
        "root mean square of how far the update moved the layer's weights",
        "1 to 10",
        "rising: the gradients of successive steps agree, or Adam's second moment lags behind them",
        csv_only=True,
    ),
    Metric(
        "layers/step_max_{layer}",
        "learning rates",
        "largest movement of a weight of the layer in the update",
        "below the number of gradient steps",
        "above: Adam's second moment lags behind a growing gradient; see adam_beta_2",
        csv_only=True,
        peak="layers/step_max_{layer}",
    ),
    Metric(
        "layers/change_{layer}",
        "share",
        "norm of the layer's movement in the update, divided by the norm of its weights",
        "mostly below 0.1",
        "above: lower learning_rate",
        high=0.6,
        csv_only=True,
    ),
    Metric(
        "layers/dead_{trunk_layer}",
        "share",
        "units of the layer that are 0 for every sample and position of a minibatch",
        "steady",
        "rising: units die; lower learning_rate, or try another picture_scaling",
        high=0.7,
        csv_only=True,
    ),
    Metric(
        "eval/mean_reward",
        "points",
        "mean score of the last evaluation, sampled policy",
        "near rollout/ep_rew_mean",
        "",
    ),
    Metric(
        "eval/mean_ep_length", "steps", "mean length of the games of the last evaluation", "", ""
    ),
    Metric(
        "eval/human_normalized",
        "",
        "mean score of the last evaluation, scaled so random play is 0 and a human is 1; defined "
        "for the 57 Atari games with published scores",
        "rises",
        "",
    ),
    Metric(
        "system/rss_mb",
        "MiB",
        "resident memory of the process",
        "flat after the first updates",
        "rising: please report it",
    ),
)


def tags(num_epochs: int, layers: Sequence[str], actions: Sequence[str]) -> list[str]:
    """Return the names of all scalars of a run, in order, with placeholders filled in.
    ``num_epochs`` is 0 for a run that does not log epochs one by one.
    """
    fillings = {
        "{epoch}": [str(number) for number in range(1, num_epochs + 1)],
        "{trunk_layer}": [layer for layer in layers if layer not in ("policy", "value")],
        "{layer}": list(layers),
        "{action}": list(actions),
    }
    names = []
    for metric in METRICS:
        mark = next((mark for mark in fillings if mark in metric.tag), None)
        names += (
            [metric.tag.replace(mark, word) for word in fillings[mark]] if mark else [metric.tag]
        )
    return names


@cache
def metric_of(tag: str) -> Metric | None:
    """Return the glossary's entry for a scalar's name, whose placeholder may be filled in."""
    fits = [metric for metric in METRICS if tag == metric.tag or _fills(tag, metric)]
    # "layers/step_max_conv1" also matches the prefix of "layers/step_{layer}".
    return max(fits, key=lambda metric: len(metric.tag.partition("{")[0]), default=None)


def _fills(tag: str, metric: Metric) -> bool:
    head, mark, _ = metric.tag.partition("{")
    return bool(mark) and tag.startswith(head)


def describe(markdown: bool = False) -> str:
    """Describe every scalar with unit, meaning, healthy range and remedy: one line each, or a
    table.
    """
    rows = [(m.tag, m.unit, _meaning(m), m.good, m.remedy) for m in METRICS]
    if not markdown:
        return tables.tabs(rows)
    cells = [(f"`{tag}`", *rest) for tag, *rest in rows]
    return tables.markdown(["scalar", "unit", "meaning", "healthy", "if not"], cells)


def entries() -> list[tuple[str, str, str]]:
    """Return every scalar: its name, meaning with unit, and healthy range with remedy."""
    return [(m.tag, m.with_unit(_meaning(m)), _advice(m)) for m in METRICS]


def _advice(metric: Metric) -> str:
    healthy = f"healthy: {metric.good}" if metric.good else ""
    remedy = f"if not: {metric.remedy}" if metric.remedy else ""
    return "; ".join(filter(None, [healthy, remedy]))


def _meaning(metric: Metric) -> str:
    return f"{metric.meaning} (in `progress.csv` alone)" if metric.csv_only else metric.meaning
