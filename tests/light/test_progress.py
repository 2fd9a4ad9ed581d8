import pytest

from ppo.envs.checks import MOST_ACTIONS
from ppo.files.origin import LONGEST_LINE
from ppo.settings import limits
from ppo.telemetry.progress import last_row, numbers
from ppo.telemetry.scalars import tags


def test_a_run_without_a_log_has_no_row(tmp_path):
    assert numbers(tmp_path) == []


def test_an_empty_cell_is_no_number(tmp_path):
    (tmp_path / "progress.csv").write_text("step,a,b\n1,,0.5\n")
    assert numbers(tmp_path) == [{"step": 1, "b": 0.5}]


def test_a_number_that_tensorboard_cannot_show_is_left_out(tmp_path):
    (tmp_path / "progress.csv").write_text("step,a,b\n1,3e38,1e39\n2,-1e300,0\n")
    assert numbers(tmp_path) == [{"step": 1, "a": 3e38}, {"step": 2, "b": 0}]


def test_the_longest_header_is_read_whole():
    longest = tags(limits("num_epochs")["le"], [], list(map(str, range(MOST_ACTIONS))))
    assert len(",".join(longest)) < LONGEST_LINE - 2**12  # the names of layers


def test_a_row_that_is_being_written_is_not_read(tmp_path):
    path = tmp_path / "progress.csv"
    path.write_text("step,a\n1,2\n")
    assert last_row(tmp_path) == {"step": "1", "a": "2"}
    path.write_text("step,a\n1,2\n3,")
    assert last_row(tmp_path) == {"step": "1", "a": "2"}
    assert numbers(tmp_path) == [{"step": 1, "a": 2}]
    long = "".join(f"{step},{step * 10}\n" for step in range(20_000))
    path.write_text("step,a\n" + long)
    assert last_row(tmp_path) == {"step": "19999", "a": "199990"}
    cells = dict.fromkeys(map(str, range(9000)), "-2.2250738585072014e-308")
    row = ",".join(["1" * 12, *cells.values()])
    path.write_text("\n".join([",".join(["step", *cells]), row, row, row[:-1]]))
    assert last_row(tmp_path) == {"step": "1" * 12, **cells}
    path.write_text("step,a\n")
    with pytest.raises(ValueError, match="no row yet"):
        last_row(tmp_path)
