"""The name and meaning of every scalar. A name with {epoch} means one scalar for each epoch."""

import functools
import math
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from ppo.system import tables


@dataclass(frozen=True)
class Metric:
    """A scalar, with the limits that no healthy run left for several log entries in a row. A log
    entry has the mean since the last one. With ``peak`` it has the value from the update where that
    scalar was largest. If a scalar has left its limits, the remedy of its ``cause`` is reported.
    """

    tag: str
    unit: str = ""
    meaning: str = ""
    healthy: str = ""
    remedy: str = ""
    low: float = -math.inf
    high: float = math.inf
    csv_only: bool = False
    peak: str = ""
    cause: str = ""

    @property
    def limits(self) -> str:
        if self.high == math.inf:
            return f"above {self.low:g}" if self.low > -math.inf else ""
        return f"{self.low:g} to {self.high:g}" if self.low > -math.inf else f"below {self.high:g}"

    def outside(self, value: float) -> bool:
        return value < self.low or value > self.high

    @property
    def good(self) -> str:
        return "; ".join(filter(None, [self.limits, self.healthy]))

    @property
    def meaning_and_unit(self) -> str:
        return f"{self.meaning} ({self.unit})" if self.unit else self.meaning

    @property
    def description(self) -> str:
        healthy = f"**Healthy:** {self.good}" if self.good else ""
        remedy = f"**If not:** {self.remedy}" if self.remedy else ""
        return "\n\n".join(filter(None, [self.meaning_and_unit, healthy, remedy]))

    @property
    def advice(self) -> str:
        healthy = f"healthy: {self.good}" if self.good else ""
        remedy = f"if not: {self.remedy}" if self.remedy else ""
        return "; ".join(filter(None, [healthy, remedy]))


SCORE, POINTS, TIME = "rollout/ep_rew_mean", "rollout/points_per_step", "time/time_elapsed"

# An entry has a name, details, a meaning, a healthy course and a remedy. The details are a unit,
# limits, "peak" with the scalar whose maximum selects the value (without a name: this one), "cause"
# with the scalar whose remedy applies, and "csv", always the last, if the scalar is only in
# progress.csv.
_GLOSSARY = """
rollout/ep_rew_mean (points): mean score of the last 100 whole games: the true score, never clipped
  healthy: rises; in Pong from -20.7 (random) to 21
  if not: flat for long: see train/entropy_loss and train/clip_fraction; falling: see
    train/approx_kl
rollout/ep_len_mean (steps): mean length of the last 100 whole games, in decisions of the agent
    (Stable-Baselines3 counts frames under this tag: frame_skip times as many)
  healthy: depends on the game
  if not: at the time limit: the agent may be stalling (in Breakout, not pressing FIRE)
rollout/ep_rew_best (points): best score of a single game so far
  healthy: rises
  if not: far above the mean: the policy is good but inconsistent
rollout/points_per_step (points/step): unclipped points in the last rollout, divided by its steps:
    it shows a change of the policy at once, while rollout/ep_rew_mean lags
  healthy: rises; in Pong from -0.022 (random) to 0.012
  if not: a sudden drop: the last updates broke the policy
rollout/games (games): whole games finished so far; a fork with other rules counts anew
  healthy: rises
time/fps (steps/s): steps per second since the last log entry, everything included
    (Stable-Baselines3's name; multiply by frame_skip for frames per second)
  healthy: steady
  if not: falling: other programs use the cores; compare time/rollout_seconds and
    time/update_seconds
time/time_elapsed (s, csv): wall-clock time of all starts of the run and of a fork's origin,
    start-up included; the time of steps that a resume repeats counts once
  healthy: rises
time/frames (frames): emulator frames so far: steps times frame_skip; after a fork with another
    frame_skip, all steps times the new one
  healthy: rises
time/rollout_seconds (s): time to play one rollout
  healthy: steady
  if not: larger than time/update_seconds: the games limit the speed
time/update_seconds (s): time of one update, all its epochs
  healthy: steady
train/learning_rate: learning rate of the update
  healthy: follows learning_rate_schedule
train/clip_range: clip range of the update
  healthy: follows clip_range_schedule
train/loss: the whole objective, with its coefficients
  healthy: not informative by itself: its terms move in opposite directions
train/policy_gradient_loss (high 0.05, cause train/approx_kl): minus the mean of the surrogate
  healthy: slightly below 0
  if not: above 0: the updates are too large, lower the learning rate
train/surrogate_gain (csv): gain of the surrogate over its value for the old policy, on the
    rollout's own samples, mean over all epochs
  healthy: above 0
  if not: as for train/surrogate_gain_last
train/surrogate_gain_last (low -0.03): train/surrogate_gain of the last epoch that ran
  healthy: above 0 on average
  if not: below 0: the update ended worse than it began, by its own measure: lower learning_rate
train/value_loss (squared return): half the squared error of the values (with value_clip_range the
    larger one, see docs/algorithm.md), before coefficient and rescaling; Stable-Baselines3 does not
    halve it
  healthy: falls, then follows the scale of the returns
  if not: rising for long: the values lag behind; more epochs or a lower learning rate
train/entropy_loss (nats, high -0.02): minus the mean entropy of the policy; -log(number of actions)
    when it is uniform
  healthy: rises slowly from -log(number of actions) towards 0
  if not: near 0 while the score is low: premature convergence, raise entropy_coef
train/approx_kl (nats, high 0.1): mean of (r - 1) - log r, an estimate of KL(old | new), over all
    epochs
  healthy: 0.001 to 0.03 in Pong; means up to 0.051 in other games with the defaults
  if not: above: lower learning_rate
train/approx_kl_max (nats, high 0.2, peak, cause train/approx_kl): largest mean of an epoch of the
    update
train/clip_fraction (share, high 0.6, cause train/approx_kl): share of samples with |r - 1| above
    the clip range, whatever delta_target_policy is
  healthy: 0.05 to 0.3; in Beam Rider 0.4
  if not: above: smaller steps; 0: larger ones
train/explained_variance (share): 1 - Var(returns - values) / Var(returns), before the update; empty
    if all returns are equal
  healthy: rises towards 1
  if not: below 0: the values are worse than a constant
train/grad_norm (high 10): global norm of the gradient, before it is clipped
  healthy: 0.1 to 5
  if not: always far above max_grad_norm: clipping sets the size of every step
train/grad_cut (share, high 0.95, cause train/grad_norm, csv): share of the gradient that the clip
    of its norm cut, 1 - min(1, max_grad_norm / norm)
train/n_updates (epochs): epochs so far, as Stable-Baselines3 counts
  healthy: rises
train/rollbacks (rollbacks, csv): how often collapse_guard has restored the healthy policy and cut
    the learning rate so far
  healthy: 0
  if not: above: --explain shows what came first
train/pseudo_entropy (low 0.02): mean of H' = sum of pi (1 - pi) over the actions
  healthy: falls slowly from 1 - 1/N (uniform over N actions)
  if not: near 0: the policy is nearly deterministic, and the value loss alone drives the trunk
train/value_scale: mean scale that value_rescaling gives the value loss; 1 without it
  healthy: as train/pseudo_entropy
  if not: near 0: the values are hardly trained any more
train/target_distance (csv): mean of |t - 1|, the distance of the surrogate's target from the old
    policy, as a ratio
  healthy: the clip range c; with the logit target from 0 to 2 c / (1 - c) (rare actions)
train/beyond_target (share, high 0.6, cause train/approx_kl): samples whose ratio is beyond its
    target, where the clipped loss has no gradient
  if not: rising: updates for other samples move these too; smaller steps, fewer epochs, or a loss
    that pulls back
train/ratio (low 0.9, high 1.1, cause train/approx_kl, csv): mean of r = pi / pi_old
train/ratio_max (high 30, peak, cause train/approx_kl): largest ratio of any sample in any epoch
  healthy: mostly below 20
  if not: large while train/approx_kl is small: a rare action was taken; both large: smaller steps
train/ratio_distance (high 0.4, cause train/approx_kl, csv): mean of |r - 1|
  healthy: below the clip range
train/ratio_above (high 2.5, cause train/approx_kl, csv): mean ratio of the samples above 1 +
    clip_range; empty if there are none
  if not: rising: ratios escape where the clipped loss has no gradient; smaller steps, or a loss
    that pulls back
train/ratio_below (low 0.3, cause train/approx_kl, csv): mean ratio of the samples below 1 -
    clip_range; empty if there are none
  if not: falling: as for train/ratio_above
train/update_kl (nats, csv): mean KL(old | new) of the whole update over the rollout's observations,
    every diagnostics_interval steps
  healthy: 0.001 to 0.1
  if not: as for train/approx_kl
train/minibatch_kl_max (nats, high 0.3, peak, cause train/approx_kl): largest mean approximate KL
    of a minibatch, before its step
  if not: above: the update went too far; lower learning_rate
train/minibatch_kl_argmax (peak train/minibatch_kl_max, csv): index, counted from 1
    over all epochs, of the minibatch with the largest KL
  healthy: in the last epoch
  if not: in the first: single steps are too large
train/advantage_std (points): standard deviation of the rollout's advantages, before they are
    normalised
  healthy: falls as the values get better
train/advantage_scale (high 100, csv): factor by which normalising the whole rollout at once would
    multiply its advantages; empty if the divisor is 0 or if they are not normalised
  if not: far above: normalising amplifies noise to the size of a signal; see advantage_std_floor
epochs/approx_kl_{epoch} (nats): mean approximate KL in one epoch of the update
  healthy: rises slowly from epoch to epoch
  if not: jumps in the last epochs: fewer epochs, or target_kl
epochs/approx_kl_max_{epoch} (nats, peak): largest approximate KL of a sample in one epoch of the
    update
  healthy: mostly below 5
  if not: jumps in the last epochs: fewer epochs, or target_kl
epochs/ratio_{epoch}: mean ratio in one epoch
  healthy: 0.98 to 1.02
epochs/ratio_max_{epoch} (peak): largest ratio in one epoch
  healthy: mostly below 8
actions/share_{action} (share): how often the policy took each action in its rollouts
  healthy: all above 0 early on
  if not: one near 1: the policy plays a single action; if the score falls too, it has collapsed
trunk/value_share (share, high 0.9): share of the value loss in the shared trunk's gradient, |g_v| /
    (|g_v| + |g_p|), before the update
  healthy: falls as the policy gets better
  if not: near 1: the value drives the trunk; lower learning_rate, or value_coef
    if you raised it
trunk/value_cosine: cosine between the gradients of value loss and policy loss in the shared trunk
  healthy: around 0
  if not: far below 0 for long: value and policy gradients conflict
trunk/rank (low 2): effective rank of the policy's last hidden layer: the smallest number of
    singular values whose squares make up 99 percent of the sum; measured on as many samples as
    units
  healthy: steady
  if not: falling towards 1: the layer no longer distinguishes observations
trunk/preactivation_norm (csv): mean norm of the pre-activations of the policy's last hidden layer;
    layer_norm keeps it near the square root of the number of units
  healthy: steady
  if not: rising without end: the features grow; see feature_drift_coef
trunk/halves_cosine (csv): cosine between the policy's gradients from two halves of the rollout,
    before the update
  healthy: above 0
  if not: around 0: the gradient is noise; larger rollouts, or a lower learning_rate
layers/grad_norm_{layer} (csv): norm of the gradient in one layer, before the update
  healthy: all of the same order of magnitude
  if not: one far above the rest: that layer dominates the clipped norm
layers/step_{layer} (learning rates, csv): root mean square of how far the update moved the layer's
    weights
  healthy: 1 to 10
  if not: rising: the gradients of successive steps agree, or Adam's second moment lags behind them
layers/step_max_{layer} (learning rates, peak, csv): largest movement of a weight of the layer in
    the update
  healthy: below the number of gradient steps
  if not: above: Adam's second moment lags behind a growing gradient; see adam_beta_2
layers/change_{layer} (share, high 0.6, cause train/approx_kl, csv): norm of the layer's movement in
    the update, divided by the norm of its weights
  healthy: mostly below 0.1
  if not: above: lower learning_rate
layers/dead_{trunk_layer} (share, high 0.7, csv): units of the layer that are 0 for every sample and
    position of a minibatch
  healthy: steady
  if not: rising: units die; lower learning_rate, or try another picture_scaling
eval/mean_reward (points): mean score of the last evaluation, sampled policy
  healthy: near rollout/ep_rew_mean
eval/mean_ep_length (steps): mean length of the games of the last evaluation
eval/human_normalized: mean score of the last evaluation, scaled so random play is 0 and a human is
    1; defined for the 57 Atari games with published scores
  healthy: rises
system/rss_mb (MiB): resident memory of the process
  healthy: flat after the first updates
  if not: rising: please report it
"""
_ENTRY = r"(\S+)(?: \((.*?)\))?: (.*?)(?:\n  healthy: (.*?))?(?:\n  if not: (.*?))?"


def _metric(entry: str) -> Metric:
    match = re.fullmatch(_ENTRY, entry, re.DOTALL)
    assert match, entry
    texts = [" ".join((text or "").split()) for text in match.groups()]
    tag, details, meaning, healthy, remedy = texts
    unit = re.split(r"(?:^|, )(?:low|high|peak|cause|csv)\b", details)[0]
    facts: dict[str, Any] = {
        side: float(limit) for side, limit in re.findall(r"(low|high) ([-.\d]+)", details)
    }
    if peak := re.search(r"\bpeak ?([\w/]*)", details):
        facts["peak"] = peak[1] or tag
    if cause := re.search(r"\bcause ([\w/]+)", details):
        facts["cause"], remedy = cause[1], remedy or f"as for {cause[1]}"
    if details.endswith("csv"):  # the last detail
        facts["csv_only"], meaning = True, f"{meaning} (in `progress.csv` alone)"
    return Metric(tag, unit, meaning, healthy, remedy, **facts)


METRICS = tuple(map(_metric, re.split(r"\n(?=\S)", _GLOSSARY.strip())))


def tags(num_epochs: int, layers: Collection[str], actions: Sequence[str]) -> list[str]:
    """Return the names of all scalars of a run; ``num_epochs`` is 0 if epochs are not logged."""
    fillings = {
        "{epoch}": [str(number) for number in range(1, num_epochs + 1)],
        "{trunk_layer}": [layer for layer in layers if layer not in ("policy", "value")],
        "{layer}": list(layers),
        "{action}": list(actions),
    }
    names = []
    for metric in METRICS:
        mark = next((mark for mark in fillings if mark in metric.tag), "")
        names += [metric.tag.replace(mark, word) for word in fillings.get(mark, [""])]
    return names


@functools.cache
def metric_of(tag: str) -> Metric:
    """Return the glossary's entry for a scalar's name, whose placeholder may be filled in. Return
    an empty entry for an unknown name.
    """
    fits = [m for m in METRICS if re.fullmatch(re.sub(r"{\w+}", ".*", m.tag), tag)]
    # "layers/step_max_conv1" also fits "layers/step_{layer}".
    return max(fits, key=lambda metric: len(metric.tag), default=Metric(tag))


def describe(markdown: bool = False) -> str:
    """Describe every scalar in a line, or as a row of a table with its limits in bold."""
    if not markdown:
        return tables.tabs([(m.tag, m.unit, m.meaning, m.good, m.remedy) for m in METRICS])
    cells = []
    for m in METRICS:
        bold = m.good.replace(m.limits, f"**{m.limits}**", 1) if m.limits else m.good
        cells.append((f"`{m.tag}`", m.unit, m.meaning, bold, m.remedy))
    return tables.markdown(["scalar", "unit", "meaning", "healthy", "if not"], cells)


def entries() -> list[tuple[str, str, str]]:
    """Return every scalar: its name, meaning with unit, and healthy range with remedy."""
    return [(m.tag, m.meaning_and_unit, m.advice) for m in METRICS]
