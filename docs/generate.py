"""Writes the pages and figures that follow from the code: run `python -m docs.generate`."""

from pathlib import Path

import numpy as np

from ppo import glossary, params

DOCS = Path(__file__).resolve().parent
OLD_PROBABILITIES = (0.01, 0.5, 0.99)
FORMS: tuple[tuple[str, str, dict], ...] = (
    ("clipped", "probability", {}),
    ("clipped, logit target", "logit", {}),
    ("peaked", "probability", {"beyond_target_slope": 1.0}),
    ("rollback, slope 0.3", "probability", {"beyond_target_slope": 0.3}),
    ("quadratic", "probability", {"quadratic": True}),
    ("quadratic, logit target", "logit", {"quadratic": True}),
)
CLIP_RANGE = 0.2

PARAMS_HEAD = """\
# Settings

A params file is one flat JSON object; what it leaves out has its default. `--set KEY=VALUE`
changes a setting on the command line. A **step** is one decision of the agent, a **frame** one
frame of the emulator (`frame_skip` of them a step). Intervals are in steps and fire at the end of
the first iteration at or past each multiple.

This page is written by `python -m docs.generate`; `run_atari.py --describe-params` prints the
same.

"""
METRICS_HEAD = """\
# Scalars

Every scalar of a run stands in TensorBoard and in `progress.csv` under the same name, at the step
that its update ended with. `train/*`, `epochs/*`, `actions/*` and the two phase times are means
over the updates since the last point; `trunk/*` and `layers/*` are measured every
`diagnostics_interval` steps; an undefined number is left out. Names are those of
Stable-Baselines3 where it has the quantity; where it means something else by a name, the table
says so.

This page is written by `python -m docs.generate`; `run_atari.py --describe-metrics` prints the
same.

"""


def pages() -> dict[str, str]:
    """The generated pages, by name."""
    return {
        "params.md": PARAMS_HEAD + params.describe(markdown=True),
        "metrics.md": METRICS_HEAD + glossary.describe(markdown=True),
    }


def surrogates(path: Path, gradient: bool) -> None:
    """Loss, or its slope, against the ratio, for three old probabilities and both signs of A."""
    import matplotlib
    import tensorflow as tf

    from ppo import losses

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, grid = pyplot.subplots(2, 3, figsize=(12, 6.5), layout="constrained")
    for row, advantage in zip(grid, (1.0, -1.0), strict=True):
        for axes, old in zip(row, OLD_PROBABILITIES, strict=True):
            highest = min(1.6, 1 / old)
            ratios = np.linspace(0.4, highest, 601)
            for name, kind, form in FORMS:
                log_probs = tf.constant(np.log(ratios * old))
                old_log_probs = tf.fill(log_probs.shape, tf.cast(np.log(old), tf.float64))
                with tf.GradientTape() as tape:
                    tape.watch(log_probs)
                    loss = losses.surrogate(
                        log_probs,
                        old_log_probs,
                        tf.fill(log_probs.shape, tf.cast(advantage, tf.float64)),
                        CLIP_RANGE,
                        kind,
                        **form,
                    )
                slope = tape.gradient(loss, log_probs).numpy() / ratios
                dashed = "--" if kind == "logit" else "-"
                axes.plot(ratios, slope if gradient else loss, dashed, lw=1.4, label=name)
            axes.axvline(1, color="grey", lw=0.6)
            axes.set_title(f"old probability {old:g}, advantage {advantage:+g}", fontsize=10)
            if gradient:
                axes.set_ylim(-3, 3)
            else:
                axes.set_ylim(-advantage - 0.7, -advantage + 0.9)
            axes.grid(alpha=0.3)
    for axes in grid[1]:
        axes.set_xlabel("ratio pi / pi_old")
    what = "slope of the loss in the ratio" if gradient else "loss"
    figure.suptitle(f"Surrogates: {what}, clip range {CLIP_RANGE}")
    grid[0][0].legend(fontsize=8)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def main() -> None:
    """Write everything."""
    for name, text in pages().items():
        (DOCS / name).write_text(text)
    surrogates(DOCS / "figures/surrogate-loss.png", gradient=False)
    surrogates(DOCS / "figures/surrogate-slope.png", gradient=True)


if __name__ == "__main__":
    main()
