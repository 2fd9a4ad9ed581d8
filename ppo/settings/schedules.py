"""What the schedules and intervals of the settings mean at a step: pure functions."""

from ppo.settings.fields import Schedule


def scheduled(schedule: Schedule, initial: float, step: int, total_steps: int) -> float:
    """Return a learning rate or clip range at a step: ``initial``, or with the linear schedule
    initial max(0, 1 - step / total_steps).
    """
    return initial if schedule == "constant" else initial * max(0.0, 1.0 - step / total_steps)


def crossed(interval: int, before: int, after: int) -> bool:
    """Whether a multiple of the interval lies in (before, after]; 0 has none."""
    return interval > 0 and after // interval > before // interval


def next_crossing(interval: int, step: int, length: int) -> int:
    """Return the next step that ends an iteration of this length and crosses the interval."""
    return step + -(-(interval - step % interval) // length) * length
