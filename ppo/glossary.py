"""The name of every scalar of a run, and what it means."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Metric:
    """A scalar: what it measures, in which unit, its healthy range, what to do outside it."""

    tag: str
    unit: str
    meaning: str
    healthy: str
    remedy: str


METRICS: tuple[Metric, ...] = (
    Metric(
        "rollout/ep_rew_mean",
        "points",
        "mean score of the last 100 whole games: the true score, never clipped",
        "rises; in Pong from -20.4 (random) to 21",
        "flat for long: see train/entropy_loss and train/clip_fraction; fallen: see "
        "train/approx_kl",
    ),
    Metric(
        "rollout/ep_len_mean",
        "steps",
        "mean length of the last 100 whole games, in decisions of the agent (Stable-Baselines3 "
        "counts frames under this tag, frame_skip times as many)",
        "depends on the game",
        "at the time limit: the agent may be stalling (in Breakout, not pressing FIRE)",
    ),
    Metric(
        "rollout/ep_rew_best",
        "points",
        "best score of a single game so far",
        "rises",
        "far above the mean: the policy is good but unsteady",
    ),
    Metric("rollout/games", "games", "whole games finished so far", "rises", ""),
    Metric(
        "time/fps",
        "steps/s",
        "steps per second since the last point, everything included (the name is "
        "Stable-Baselines3's; times frame_skip it is frames per second)",
        "steady",
        "falling: other programs use the cores; compare the two times below",
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
        "as learning_rate_schedule says",
        "",
    ),
    Metric("train/clip_range", "", "clip range of the update", "as clip_range_schedule says", ""),
    Metric(
        "train/loss",
        "",
        "the whole objective, with its coefficients",
        "no meaning of its own: its parts move against each other",
        "",
    ),
    Metric(
        "train/policy_gradient_loss",
        "",
        "mean of the surrogate",
        "slightly below 0",
        "above 0: the steps are too large, lower the learning rate",
    ),
    Metric(
        "train/value_loss",
        "squared return",
        "half the squared error of the values, before coefficient and rescaling "
        "(Stable-Baselines3 does not halve it)",
        "falls, then follows the scale of the returns",
        "rising for long: the values do not keep up; more epochs or a lower learning rate",
    ),
    Metric(
        "train/entropy_loss",
        "nats",
        "minus the mean entropy of the policy; -log(number of actions) when it is uniform",
        "rises slowly from -log(number of actions) towards 0",
        "near 0 early: the policy settled too soon, raise entropy_coef; never rises: lower it",
    ),
    Metric(
        "train/approx_kl",
        "nats",
        "mean of (r - 1) - log r, an estimate of KL(old | new), over all epochs",
        "0.001 to 0.03",
        "above 0.05: lower the learning rate, or set target_kl; a jump foretells a collapse",
    ),
    Metric(
        "train/approx_kl_max",
        "nats",
        "largest mean of an epoch of the update",
        "below 0.05",
        "as for train/approx_kl",
    ),
    Metric(
        "train/clip_fraction",
        "share",
        "samples whose ratio is more than the clip range from 1, whatever the target",
        "0.05 to 0.3",
        "above: smaller steps; 0: larger ones",
    ),
    Metric(
        "train/explained_variance",
        "share",
        "1 - Var(returns - values) / Var(returns), before the update; empty if all returns are "
        "equal",
        "towards 1",
        "below 0: the values are worse than a constant",
    ),
    Metric(
        "train/grad_norm",
        "",
        "global norm of the gradient, before it is clipped",
        "0.1 to 5",
        "always far above max_grad_norm: the clip sets the size of every step",
    ),
    Metric("train/n_updates", "epochs", "epochs so far, as Stable-Baselines3 counts", "rises", ""),
    Metric(
        "eval/mean_reward",
        "points",
        "mean score of the last evaluation's games, sampled policy",
        "near rollout/ep_rew_mean",
        "",
    ),
    Metric("eval/mean_ep_length", "steps", "mean length of the same games", "", ""),
    Metric(
        "system/rss_mb",
        "MiB",
        "resident memory of the process",
        "flat after the first updates",
        "rising: please report it",
    ),
)

TAGS: tuple[str, ...] = tuple(metric.tag for metric in METRICS)
