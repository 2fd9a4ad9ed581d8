"""The verdict of an autopsy, from outcomes that are written down."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ppo.autopsy import figure, verdict
from ppo.autopsy.changes import UNCHANGED, Change
from ppo.autopsy.verdict import Outcome


def outcome(name: str, survivors: int, kl: float, forks: int = 5, **settings: object) -> Outcome:
    kept = [np.full(6, 0.9)] * survivors + [np.full(6, 0.1)] * (forks - survivors)
    smaller = name.startswith("rate /")
    change = Change(name, settings or {"gamma": 0.5}, f"the meaning of {name}", smaller)
    return Outcome(change, kept, np.full(forks, kl), np.full(forks, -0.1))


UNTOUCHED = outcome(UNCHANGED, 0, 0.4)
SMALLER = [
    outcome(f"rate / {part}", survivors, 0.4 / part, learning_rate=1 / part)
    for part, survivors in ((2, 0), (4, 1), (8, 5))
]


def said(*changed: Outcome) -> str:
    return verdict.verdict([UNTOUCHED, *SMALLER, *changed])


def test_end_is_the_last_third_and_lowest_a_median_of_five():
    kept = [np.array([1, 1, -3, 1, 0, 0, 0, 0.5, 0.8]), np.array([1.0, 0.2])]
    of = Outcome(Change("x", {}, ""), kept, np.ones(2), np.ones(2))
    assert of.end == pytest.approx([1.3 / 3, 0.2])
    assert of.lowest == pytest.approx([0.0, 0.6])
    assert of.curve == pytest.approx([1.0, 0.6])


def test_fisher_is_what_the_protocol_states():
    assert verdict.fisher(5, 5, 0, 5) == pytest.approx(0.0079, abs=1e-4)
    assert verdict.fisher(5, 5, 1, 5) == pytest.approx(0.0476, abs=1e-4)
    assert verdict.fisher(4, 5, 1, 5) == pytest.approx(0.206, abs=1e-3)
    assert verdict.fisher(3, 5, 3, 5) == pytest.approx(1)


@given(st.integers(1, 8), st.integers(1, 8), st.data())
def test_fisher_is_a_probability_and_does_not_depend_on_the_order(of, of_others, data):
    survivors, others = data.draw(st.integers(0, of)), data.draw(st.integers(0, of_others))
    p = verdict.fisher(survivors, of, others, of_others)
    assert 0 < p <= 1 + 1e-12
    assert p == pytest.approx(verdict.fisher(others, of_others, survivors, of))
    assert p == pytest.approx(verdict.fisher(of - survivors, of, of_others - others, of_others))


def test_a_change_that_survives_where_a_smaller_rate_of_its_kl_collapses_is_the_cause():
    text = said(outcome("cure", 5, 0.25), outcome("other", 1, 0.2))
    assert "Unchanged, 5 of 5 forks collapse" in text
    assert "**the meaning of cure**" in text and "gamma=0.5" in text
    assert "other" not in text


def test_a_larger_rate_is_a_change_and_no_smaller_step():
    text = said(outcome("faster", 5, 0.45, learning_rate=10.0))
    assert "prevents it at equal KL" in text and "too large" not in text


def test_a_change_that_is_no_more_than_a_smaller_step_is_no_cause():
    small = outcome("timid", 5, 0.05)
    text = said(small)
    assert (
        "timid" not in text and "the steps are too large" in text and "learning_rate=0.125" in text
    )
    judged = verdict.effect(small, UNTOUCHED, [UNTOUCHED, *SMALLER])
    assert judged == "prevents it as smaller steps do (5 of 5 survive with rate / 8)"


@pytest.mark.parametrize(
    ("kl", "control"), [(0.59, f"0 of 5 survive with {UNCHANGED}"), (0.61, None), (0.033, None)]
)
def test_a_verdict_at_equal_kl_needs_a_control_within_half_as_much_again(kl, control):
    cure = outcome("cure", 5, kl)
    judged = verdict.effect(cure, UNTOUCHED, [UNTOUCHED, *SMALLER])
    if control:
        assert judged == f"prevents it at equal KL ({control})"
        assert "What prevents it at equal KL:" in said(cure)
    else:
        assert judged == "prevents it, without a control of equal KL"
        assert "What prevents it, without a control of equal KL:" in said(cure)
    assert "**the meaning of cure**" in said(cure)


@pytest.mark.parametrize(("survivors", "judged"), [(0, "collapses as well"), (3, "inconclusive")])
def test_what_does_not_differ_from_the_run_unchanged_is_said_to_be_so(survivors, judged):
    change = outcome("weak", survivors, 0.4)
    assert verdict.effect(change, UNTOUCHED, [UNTOUCHED, *SMALLER]) == judged


def test_a_collapse_that_does_not_happen_again_has_no_verdict():
    lucky = outcome(UNCHANGED, 2, 0.4)
    assert "depends on chance" in verdict.verdict([lucky, *SMALLER, outcome("cure", 5, 0.3)])


def test_without_anything_that_helps_the_verdict_says_so():
    never = [outcome(f"rate / {part}", 0, 0.1, learning_rate=0.1) for part in (2, 4)]
    text = verdict.verdict([UNTOUCHED, *never, outcome("weak", 0, 0.1)])
    assert text.endswith("Nothing that was tried prevents it, not even smaller steps.")


def test_three_forks_have_no_verdict():
    others = [outcome(f"rate / {part}", 3, 0.1, forks=3, learning_rate=0.1) for part in (2, 4)]
    untouched, cure = outcome(UNCHANGED, 0, 0.4, forks=3), outcome("cure", 3, 0.4, forks=3)
    text = verdict.verdict([untouched, *others, cure])
    assert "3 forks of each are too few" in text and "prevents" not in text


def test_table_has_a_row_for_each_change_with_its_interval():
    lines = verdict.table([UNTOUCHED, *SMALLER, outcome("cure", 4, 0.25)]).splitlines()
    assert len(lines) == 2 + 5
    assert lines[-1].startswith("| cure | `gamma=0.5` | 4 of 5 | 0.74 (")
    assert "0.250" in lines[-1]


def test_figure_is_an_image(tmp_path):
    figure.draw([UNTOUCHED, *SMALLER, outcome("cure", 4, 0.25)], tmp_path / "f.png", "a fall")
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


def test_nearest_is_by_ratio():
    assert verdict.nearest(0.15, [UNTOUCHED, *SMALLER]).change.name == "rate / 2"
    assert verdict.nearest(0.7, [UNTOUCHED, *SMALLER]) is None
    assert verdict.nearest(0.0, SMALLER) is None
