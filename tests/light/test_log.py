import codecs
import csv
import json
import locale
import math
import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_file_loader import (
    EventFileLoader,
    RawEventFileLoader,
)
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.compat.proto.event_pb2 import Event, SourceMetadata
from tensorboard.compat.proto.summary_pb2 import (
    DATA_CLASS_BLOB_SEQUENCE,
    DATA_CLASS_SCALAR,
    Summary,
)
from tensorboard.context import RequestContext
from tensorboard.plugins.base_plugin import TBContext
from tensorboard.plugins.hparams import get_experiment, list_session_groups
from tensorboard.plugins.hparams.api_pb2 import GetExperimentRequest, ListSessionGroupsRequest
from tensorboard.plugins.hparams.backend_context import Context
from tensorboard.summary.writer.record_writer import RecordWriter
from tensorboard.util.tensor_util import make_ndarray

from ppo.envs.registry import settings_for
from ppo.files.folder import FolderError
from ppo.settings import Params
from ppo.telemetry import hparams
from ppo.telemetry.log import Aggregates, Log, cut
from ppo.telemetry.scalars import metric_of, tags

SCORE, LOSS, SPEED = "rollout/ep_rew_mean", "train/loss", "time/fps"
SHOWN = (SCORE, LOSS, SPEED)
ALL_POINTS = {"scalars": 0, "text": 0, "images": 0}


def reader(folder: Path) -> EventAccumulator:
    """TensorBoard's own, which joins the files of a folder."""
    accumulator = EventAccumulator(str(folder), tensor_size_guidance=ALL_POINTS)
    accumulator.Reload()
    return accumulator


def curve(folder: Path, tag: str) -> list[tuple[int, float]]:
    points = reader(folder).Tensors(tag)
    return [(point.step, float(make_ndarray(point.tensor_proto))) for point in points]


def raw_steps(folder: Path, tag: str) -> list[int]:
    """Steps of a tag as they lie in the files, however TensorBoard might join them."""
    events = [
        Event.FromString(record)
        for path in sorted(folder.glob("events.out.tfevents.*"))
        for record in RawEventFileLoader(str(path)).Load()
    ]
    return [event.step for event in events for value in event.summary.value if value.tag == tag]


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "progress.csv", newline="") as file:
        return list(csv.DictReader(file))


def write(log: Log, steps, offset: float = 0.0) -> None:
    for step in steps:
        log.write(step, {SCORE: step + offset, SPEED: 100.0})


# --- TensorBoard


def test_tensorboard_reads_back_tags_steps_and_values(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    log.write(64, {SCORE: -20.5, LOSS: 1e-30})
    log.write(128, {SCORE: 21.0})
    log.close()
    assert curve(tmp_path, SCORE) == [(64, -20.5), (128, 21.0)]
    assert curve(tmp_path, LOSS) == [(64, float(np.float32(1e-30)))]
    assert set(reader(tmp_path).PluginTagToContent("scalars")) == {SCORE, LOSS}


def test_every_tag_of_the_glossary_can_be_written_and_read(tmp_path):
    every = tags(num_epochs=2, layers=["conv1", "policy", "value"], actions=["0_NOOP", "1"])
    log = Log(tmp_path, every, 1)
    log.write(10**12, {tag: number for number, tag in enumerate(every)})
    log.close()
    found = reader(tmp_path)
    (row,) = rows(tmp_path)
    shown = set(found.PluginTagToContent("scalars"))
    for number, tag in enumerate(every):
        assert float(row[tag]) == number
        if tag in shown:
            (point,) = found.Tensors(tag)
            assert (point.step, make_ndarray(point.tensor_proto)) == (10**12, number)
    assert {tag for tag in every if metric_of(tag).csv_only} == {*every} - shown


def test_tensorboard_shows_about_thirty_to_forty_scalars_of_pong():
    actions = [f"{number}_NAME" for number in range(6)]
    every = tags(0, ["conv1", "conv2", "dense1", "policy", "value"], actions)
    assert 30 <= len([tag for tag in every if not metric_of(tag).csv_only]) <= 42
    assert not [tag for tag in every if tag.startswith("epochs/")]
    assert not [tag for tag in tags(0, [], []) if "{" in tag]


def test_every_scalar_is_described_by_its_own_entry_of_the_glossary(tmp_path):
    for tag, meaning in (
        ("layers/step_max_conv1", "largest movement of a weight"),
        ("layers/step_conv1", "root mean square"),
        ("epochs/approx_kl_max_2", "largest approximate KL of a sample"),
        ("train/approx_kl_max", "largest mean of an epoch"),
    ):
        assert meaning in metric_of(tag).description


def test_tensorboard_describes_a_scalar_as_the_glossary_does(tmp_path):
    log = Log(tmp_path, [SCORE, "actions/share_2_RIGHT"], 1)
    log.write(1, {SCORE: 5.0, "actions/share_2_RIGHT": 0.5})
    log.close()
    found = reader(tmp_path)
    for tag in (SCORE, "actions/share_2_RIGHT"):
        metadata = found.SummaryMetadata(tag)
        assert metadata.plugin_data.plugin_name == "scalars"
        assert metadata.data_class == DATA_CLASS_SCALAR
        assert metric_of(tag).meaning in metadata.summary_description
        assert f"({metric_of(tag).unit})" in metadata.summary_description
    assert "**Healthy:** rises" in found.SummaryMetadata(SCORE).summary_description


def test_a_file_describes_each_scalar_once(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    write(log, [1, 2])
    log.close()
    described = [value.HasField("metadata") for value in values_of(tmp_path, SCORE)]
    assert described == [True, False]


def values_of(folder: Path, tag: str) -> list[Summary.Value]:
    (path,) = folder.glob("events.out.tfevents.*")
    events = [Event.FromString(record) for record in RawEventFileLoader(str(path)).Load()]
    return [value for event in events for value in event.summary.value if value.tag == tag]


def test_a_curve_that_began_with_simple_values_continues(tmp_path):
    with open(tmp_path / "events.out.tfevents.1000.here", "wb") as file:
        writer = RecordWriter(file)
        writer.write(Event(file_version="brain.Event:2").SerializeToString())
        value = Summary.Value(tag=SCORE, simple_value=1.5)
        writer.write(Event(step=1, summary=Summary(value=[value])).SerializeToString())
    log = Log(tmp_path, SHOWN, 2)
    write(log, [2])
    log.close()
    assert curve(tmp_path, SCORE) == [(1, 1.5), (2, 2.0)]


def test_a_table_that_began_before_actions_had_names_continues(tmp_path):
    (tmp_path / "progress.csv").write_text("step,actions/share_1,actions/share_10\n1,0.25,0.5\n")
    names = ["actions/share_1_FIRE", "actions/share_10_UPFIRE"]
    log = Log(tmp_path, names, 2)
    log.write(2, {names[0]: 0.75, names[1]: 0.125})
    log.close()
    assert [(row["actions/share_1"], row["actions/share_10"]) for row in rows(tmp_path)] == [
        ("0.25", "0.5"),
        ("0.75", "0.125"),
    ]
    assert curve(tmp_path, names[0]) == [(2, 0.75)]


# --- settings and pictures


SETTINGS = dict(Params(seed=7, threads=1, learning_rate=0.5))


def written_settings(folder: Path) -> EventAccumulator:
    log = Log(folder, SHOWN, 1)
    log.settings(0, SETTINGS)
    write(log, [1])
    log.close()
    return reader(folder)


def test_settings_are_a_table_for_the_text_plugin(tmp_path):
    (point,) = written_settings(tmp_path).Tensors("params")
    assert "| learning_rate | 0.5 |" in make_ndarray(point.tensor_proto).item().decode()


def test_the_hparams_plugin_reads_settings_and_score(tmp_path):
    """Through its own handlers, as its page does."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        written_settings(tmp_path / name)
    multiplexer = EventMultiplexer(tensor_size_guidance=ALL_POINTS)
    multiplexer.AddRunsFromDirectory(str(tmp_path))
    multiplexer.Reload()
    provider = MultiplexerDataProvider(multiplexer, str(tmp_path))
    context, ask = Context(TBContext(data_provider=provider)), RequestContext()
    experiment = get_experiment.Handler(ask, context, "", GetExperimentRequest()).run()
    infos = {info.name: info for info in experiment.hparam_infos}
    assert {*infos} == {"learning_rate"}  # the only one that is not the default
    assert infos["learning_rate"].description == "initial learning rate of Adam"
    scores = [metric.name.tag for metric in experiment.metric_infos]
    assert scores[0] == SCORE and {*scores} <= {*tags(0, [], [])}
    wanted = ListSessionGroupsRequest(slice_size=9, allowed_statuses=range(4))
    groups = list_session_groups.Handler(ask, context, "", wanted).run()
    assert [group.name for group in groups.session_groups] == ["one", "two"]
    for group in groups.session_groups:
        assert group.hparams["learning_rate"].number_value == 0.5
        assert "target_kl" not in group.hparams  # null
        assert [(m.name.tag, m.value) for m in group.metric_values] == [(SCORE, 1.0)]


def test_hparams_of_runs_are_those_that_differ_between_them_or_else_from_the_defaults():
    one = SETTINGS | {"seed": 1, "threads": 2, "mlp_sizes": [8]}
    other = one | {"seed": 2, "threads": 1, "target_kl": 0.5, "adam_reset": True, "network": "mlp"}
    infos = {info.name: info for info in hparams.experiment([one, other]).hparam_infos}
    between = {"adam_reset": 2, "network": 1, "seed": 3, "target_kl": 3}
    assert {name: info.type for name, info in infos.items()} == between
    alone = {info.name for info in hparams.experiment([other]).hparam_infos}
    assert alone == {"learning_rate", "mlp_sizes", *between} - {"seed"}
    alike = {info.name for info in hparams.experiment([one, one]).hparam_infos}
    assert alike == {"learning_rate", "mlp_sizes"}


@pytest.mark.parametrize("game", ["Breakout", "CartPole-v1"])
def test_hparams_of_a_run_are_compared_with_the_defaults_of_its_game(game):
    usual = dict(Params(**settings_for(game)))
    (only,) = hparams.experiment([usual]).hparam_infos
    assert only.name == "env_id"
    (only,) = hparams.experiment([usual | {"gamma": 0.5}]).hparam_infos
    assert only.name == "gamma"


def test_hparams_of_a_run_import_no_module_that_it_names(monkeypatch):
    monkeypatch.setattr("ppo.system.own_modules.importlib.import_module", pytest.fail)
    (only,) = hparams.experiment([dict(Params(env_id="tests.pixel_game:Catch-v0"))]).hparam_infos
    assert only.name == "env_id"


GIF = b"GIF89a" + struct.pack("<HH", 160, 210) + b"whatever follows"


def test_an_image_is_shown_by_the_images_plugin(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    log.image(64, "videos/training", GIF)
    log.close()
    found = reader(tmp_path)
    assert found.SummaryMetadata("videos/training").data_class == DATA_CLASS_BLOB_SEQUENCE
    assert set(found.PluginTagToContent("images")) == {"videos/training"}
    (point,) = found.Tensors("videos/training")
    assert point.step == 64
    assert make_ndarray(point.tensor_proto).tolist() == [b"160", b"210", GIF]


def test_a_cut_removes_images_with_the_rest(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    log.image(1, "videos/training", GIF)
    sizes = log.sizes()
    log.image(2, "videos/training", GIF)
    log.close()
    cut(tmp_path, sizes)
    assert raw_steps(tmp_path, "videos/training") == [1]


def test_point_can_be_read_as_soon_as_it_is_written(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    for step in (1, 2):
        log.write(step, {SCORE: 5.0})
        assert curve(tmp_path, SCORE)[-1] == (step, 5.0)
        assert rows(tmp_path)[-1]["step"] == str(step)
    log.close()


def test_point_has_the_time_of_its_writing(tmp_path):
    before = time.time()
    log = Log(tmp_path, SHOWN, 1)
    log.write(1, {SCORE: 5.0})
    log.close()
    assert before <= reader(tmp_path).Tensors(SCORE)[0].wall_time <= time.time()


def test_parent_folder_shows_each_run_by_itself(tmp_path):
    for name, score in (("one", 1.0), ("two", 2.0)):
        (tmp_path / name).mkdir()
        log = Log(tmp_path / name, SHOWN, 1)
        log.write(5, {SCORE: score})
        log.close()
    assert curve(tmp_path / "one", SCORE) == [(5, 1.0)]
    assert curve(tmp_path / "two", SCORE) == [(5, 2.0)]


# --- going on after a restart


def broken_off_at_five_saved_at_three(folder: Path) -> dict[str, int]:
    log = Log(folder, SHOWN, 1)
    write(log, [1, 2, 3])
    sizes = log.sizes()
    write(log, [4, 5])
    log.close()
    return sizes


def test_sizes_are_of_the_event_file_and_the_csv(tmp_path):
    (tmp_path / "params.json").write_text("{}")
    log = Log(tmp_path, SHOWN, 1)
    write(log, [1])
    files = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    del files["params.json"]
    assert log.sizes() == files and len(files) == 2
    assert json.loads(json.dumps(log.sizes())) == log.sizes()
    log.close()


def test_after_a_cut_and_a_second_log_no_step_appears_twice(tmp_path):
    sizes = broken_off_at_five_saved_at_three(tmp_path)
    cut(tmp_path, sizes)
    log = Log(tmp_path, SHOWN, 4)
    write(log, [4, 5, 6], offset=0.25)
    log.close()
    expected = [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.25), (5, 5.25), (6, 6.25)]
    assert curve(tmp_path, SCORE) == expected
    assert raw_steps(tmp_path, SCORE) == [1, 2, 3, 4, 5, 6]
    assert [(int(row["step"]), float(row[SCORE])) for row in rows(tmp_path)] == expected


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_log_that_shares_its_files_by_links_leaves_the_other_files_alone(tmp_path, link):
    (tmp_path / "run").mkdir()
    (tmp_path / "other").mkdir()
    sizes = broken_off_at_five_saved_at_three(tmp_path / "other")
    before = {name: (tmp_path / "other" / name).read_bytes() for name in sizes}
    for name in sizes:
        link(tmp_path / "other" / name, tmp_path / "run" / name)
    cut(tmp_path / "run", sizes)
    log = Log(tmp_path / "run", SHOWN, 4)
    write(log, [4, 5, 6])
    log.close()
    assert {name: (tmp_path / "other" / name).read_bytes() for name in sizes} == before
    assert raw_steps(tmp_path / "run", SCORE) == [1, 2, 3, 4, 5, 6]


def test_after_two_restarts_the_curve_is_whole(tmp_path):
    sizes = broken_off_at_five_saved_at_three(tmp_path)
    for first in (4, 6):
        cut(tmp_path, sizes)
        log = Log(tmp_path, SHOWN, first)
        write(log, [first, first + 1])
        sizes = log.sizes()
        write(log, [first + 2])
        log.close()
    assert raw_steps(tmp_path, SCORE) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [step for step, _ in curve(tmp_path, SCORE)] == [1, 2, 3, 4, 5, 6, 7, 8]


def test_tensorboard_that_already_read_the_later_points_drops_them(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    write(log, [1, 2, 3])
    sizes = log.sizes()
    write(log, [4, 5])
    watching = reader(tmp_path)
    assert len(watching.Tensors(SCORE)) == 5
    log.close()
    cut(tmp_path, sizes)
    log = Log(tmp_path, SHOWN, 4)
    write(log, [4, 5, 6], offset=0.25)
    watching.Reload()
    points = [(p.step, float(make_ndarray(p.tensor_proto))) for p in watching.Tensors(SCORE)]
    assert points == [(1, 1.0), (2, 2.0), (3, 3.0), (4, 4.25), (5, 5.25), (6, 6.25)]
    log.close()


def test_cut_removes_what_was_begun_since_and_nothing_else(tmp_path):
    sizes = broken_off_at_five_saved_at_three(tmp_path)
    (tmp_path / "params.json").write_text("{}")
    (tmp_path / "videos").mkdir()
    Log(tmp_path, SHOWN, 6).close()
    cut(tmp_path, sizes)
    assert {path.name for path in tmp_path.iterdir()} == {*sizes, "params.json", "videos"}
    assert {name: (tmp_path / name).stat().st_size for name in sizes} == sizes


def foreign_events(folder: Path) -> bytes:
    """An event file as TensorFlow writes it, named like our own."""
    path = folder / f"events.out.tfevents.{10**18}.host"
    with open(path, "wb") as file:
        writer = RecordWriter(file)
        source = SourceMetadata(writer="tensorflow.core.util.events_writer")
        event = Event(file_version="brain.Event:2", source_metadata=source)
        writer.write(event.SerializeToString())
    return path.read_bytes()


def test_event_file_of_another_program_is_left_alone(tmp_path):
    before = foreign_events(tmp_path)
    sizes = broken_off_at_five_saved_at_three(tmp_path)
    assert len(sizes) == 2
    for earlier in (sizes, {}):
        cut(tmp_path, earlier)
        assert (tmp_path / f"events.out.tfevents.{10**18}.host").read_bytes() == before


def test_cut_to_nothing_leaves_a_fresh_start(tmp_path):
    broken_off_at_five_saved_at_three(tmp_path)
    cut(tmp_path, {})
    assert list(tmp_path.iterdir()) == []
    log = Log(tmp_path, SHOWN, 1)
    write(log, [1])
    log.close()
    assert raw_steps(tmp_path, SCORE) == [1]
    assert [row["step"] for row in rows(tmp_path)] == ["1"]


def test_cut_heals_files_that_end_in_the_middle_of_a_point(tmp_path):
    sizes = broken_off_at_five_saved_at_three(tmp_path)
    for name in sizes:
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:-7])
    cut(tmp_path, sizes)
    log = Log(tmp_path, SHOWN, 4)
    write(log, [4])
    log.close()
    assert raw_steps(tmp_path, SCORE) == [1, 2, 3, 4]
    assert [row["step"] for row in rows(tmp_path)] == ["1", "2", "3", "4"]


def test_cut_of_an_untouched_log_changes_nothing(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    write(log, [1, 2])
    sizes = log.sizes()
    log.close()
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    cut(tmp_path, sizes)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# --- the CSV


def test_csv_has_step_and_the_tags_as_columns_and_blanks_for_what_is_missing(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    log.write(64, {SPEED: 0.1 + 0.2, SCORE: -3})
    log.close()
    lines = (tmp_path / "progress.csv").read_text().split("\n")
    assert lines == [f"step,{SCORE},{LOSS},{SPEED}", "64,-3,,0.30000000000000004", ""]


def test_csv_holds_plain_numbers_for_numpy_floats_too(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    log.write(1, {SCORE: np.float64(0.1)})
    log.close()
    assert rows(tmp_path)[0][SCORE] == "0.1"


def test_csv_has_its_head_once_however_often_the_log_is_opened(tmp_path):
    for first in (1, 2, 3):
        log = Log(tmp_path, SHOWN, first)
        write(log, [first])
        log.close()
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    assert len(lines) == 4
    assert sum(line.startswith("step") for line in lines) == 1


def test_csv_continues_under_the_head_it_began_with(tmp_path):
    log = Log(tmp_path, [SCORE, SPEED], 1)
    log.write(1, {SCORE: 1.0, SPEED: 2.0})
    log.close()
    log = Log(tmp_path, [LOSS, SPEED, SCORE], 2)
    log.write(2, {SCORE: 3.0, SPEED: 4.0, LOSS: 5.0})
    log.close()
    assert [list(row.values()) for row in rows(tmp_path)] == [
        ["1", "1.0", "2.0"],
        ["2", "3.0", "4.0"],
    ]


def test_empty_csv_gets_its_head(tmp_path):
    (tmp_path / "progress.csv").touch()
    log = Log(tmp_path, SHOWN, 1)
    write(log, [1])
    log.close()
    assert [row["step"] for row in rows(tmp_path)] == ["1"]


@pytest.mark.parametrize("end", ["", "\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_row_after_an_edit_by_hand_has_its_own_line(tmp_path, newline, end):
    log = Log(tmp_path, SHOWN, 1)
    write(log, [1, 2])
    log.close()
    lines = (tmp_path / "progress.csv").read_text().splitlines()
    edited = newline.join(lines) + (newline if end else "")
    (tmp_path / "progress.csv").write_bytes(edited.encode())
    log = Log(tmp_path, SHOWN, 3)
    write(log, [3])
    log.close()
    assert [(row["step"], row[SCORE], row[SPEED]) for row in rows(tmp_path)] == [
        (str(step), f"{step}.0", "100.0") for step in (1, 2, 3)
    ]


@pytest.mark.parametrize(
    ("edited", "kept"),
    [
        (lambda text: text.replace(b"\n", b"\r\n"), ["1", "2", "3"]),
        (lambda text: text.replace(b"\n", b"\r\n")[:-2], ["1", "2", "3"]),
        (lambda text: codecs.BOM_UTF8 + text, ["1", "2", "3"]),
        (lambda text: text.replace(b"\n1,", b"\n1,  "), ["1", "2"]),  # the third row is cut
    ],
    ids=["line ends", "line ends but the last", "byte order mark", "spaces"],
)
def test_cut_of_an_edited_log_keeps_whole_rows(tmp_path, edited, kept):
    sizes = broken_off_at_five_saved_at_three(tmp_path)
    path = tmp_path / "progress.csv"
    path.write_bytes(edited(path.read_bytes()))
    cut(tmp_path, sizes)
    log = Log(tmp_path, SHOWN, 4)
    write(log, [4])
    log.close()
    assert [row["step"] for row in rows(tmp_path)] == [*kept, "4"]


def test_pipe_in_place_of_the_csv_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "progress.csv")
    with pytest.raises(FolderError, match="not a regular file"):
        Log(tmp_path, SHOWN, 1)


class FullDisk:
    def __init__(self, file):
        self.file = file

    def write(self, *_):
        raise OSError(28, "No space left on device")

    flush = close = fileno = write


@pytest.mark.parametrize("part", ["_csv", "_events"])
def test_error_names_the_file(tmp_path, part, monkeypatch):
    log = Log(tmp_path, SHOWN, 1)
    of = getattr(log, part)
    monkeypatch.setattr(of, "_file", FullDisk(of._file))
    if part == "_events":
        monkeypatch.setattr(of, "_records", RecordWriter(of._file))
    for call in (lambda: write(log, [1]), of.sync, of.close):
        with pytest.raises(OSError, match="No space") as caught:
            call()
        assert caught.value.filename == str(of.path)


# --- means


def test_mean_is_of_everything_since_it_was_last_taken():
    means = Aggregates()
    means.add({"a": 1.0, "b": 10.0})
    means.add({"a": 2.0})
    assert means.take() == {"a": 1.5, "b": 10.0}
    means.add({"a": 7.0})
    assert means.take() == {"a": 7.0}
    assert means.take() == {}


def test_entry_has_the_largest_maximum_and_the_minibatch_that_it_belongs_to():
    kl, index, ratio = "train/minibatch_kl_max", "train/minibatch_kl_argmax", "epochs/ratio_max_2"
    aggregates = Aggregates({kl: (0.2, 2), index: (8.0, 2), ratio: (3.0, 2)})
    for values in [(0.3, 5.0, 1.0), (0.2, 9.0, 2.0), (math.nan, 7.0, math.inf)]:
        aggregates.add(dict(zip((kl, index, ratio), values, strict=True)))
        aggregates = Aggregates(json.loads(json.dumps(aggregates.sums)))
    assert aggregates.take() == {kl: 0.3, index: 5.0, ratio: 2.0}


@pytest.mark.parametrize("odd", [math.nan, math.inf, -math.inf])
def test_number_that_is_not_finite_is_left_out(odd):
    means = Aggregates()
    for scalars in ({"a": 1.0, "b": odd}, {"a": odd}, {"a": 3.0}):
        means.add(scalars)
    assert means.take() == {"a": 2.0}


def test_sum_of_large_numbers_stays_finite():
    means = Aggregates({"a": (1e308, 1)})
    means.add({"a": 1e308})
    assert means.take() == {"a": 1e308}


def test_number_that_an_event_file_cannot_hold_is_in_the_table_alone(tmp_path):
    log = Log(tmp_path, SHOWN, 1)
    log.write(1, {SCORE: 1e300, LOSS: 0.5})
    log.close()
    assert rows(tmp_path)[0][SCORE] == "1e+300"
    assert reader(tmp_path).Tags()["tensors"] == [LOSS]


FINITE = st.floats(-1e6, 1e6)


@given(before=st.lists(FINITE, max_size=4), after=st.lists(FINITE, max_size=4))
@settings(deadline=None)
def test_means_continue_from_their_state_as_if_nothing_had_happened(before, after):
    unbroken, first = Aggregates(), Aggregates()
    for value in before:
        unbroken.add({"a": value})
        first.add({"a": value})
    second = Aggregates(json.loads(json.dumps(first.sums)))
    for value in after:
        unbroken.add({"a": value})
        second.add({"a": value})
    assert second.take() == unbroken.take()


def test_mean_of_nothing_is_left_out():
    assert Aggregates({"a": (0.0, 0), "b": (3.0, 2)}).take() == {"b": 1.5}


def test_event_files_are_in_the_order_of_their_starts_even_if_the_clock_jumps(tmp_path):
    for step, now in [(1, 3 * 10**18), (2, 2 * 10**18), (3, 10**18)]:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(time, "time_ns", lambda now=now: now)
            log = Log(tmp_path, SHOWN, step)
        log.write(step, {SCORE: float(step)})
        log.close()
    files = sorted(tmp_path.glob("events.out.tfevents.*"))
    loader = [list(EventFileLoader(str(file)).Load()) for file in files]
    assert [events[-1].step for events in loader] == [1, 2, 3]


def test_a_scalar_that_the_list_of_names_lacks_is_refused_before_anything_is_written(tmp_path):
    log = Log(tmp_path, ["known"], 1)
    before = log.sizes()
    with pytest.raises(KeyError, match="unheard"):
        log.write(1, {"known": 1.0, "unheard": 2.0})
    assert log.sizes() == before
    log.close()


def test_log_continues_if_its_files_are_moved_and_a_resume_cuts_what_was_restored(tmp_path):
    Log(tmp_path, [SCORE], 0).close()  # an earlier start
    (earlier,) = tmp_path.glob("events.out.tfevents.*")
    log = Log(tmp_path, [SCORE], 0)
    log.write(1, {SCORE: 0.5})
    (own,) = (path for path in tmp_path.glob("events.out.tfevents.*") if path != earlier)
    earlier.unlink()
    for path in (own, tmp_path / "progress.csv"):
        path.rename(tmp_path / f"{path.name}.away")
    log.write(2, {SCORE: 0.6})
    sizes = log.sizes()
    log.write(3, {SCORE: 0.7})
    log.close()
    for path in (own, tmp_path / "progress.csv"):
        (tmp_path / f"{path.name}.away").rename(path)
    cut(tmp_path, sizes)
    assert (tmp_path / "progress.csv").read_text() == f"step,{SCORE}\n1,0.5\n2,0.6\n"
    assert [step for step, _ in curve(tmp_path, SCORE)] == [1, 2]


@pytest.mark.parametrize(
    ("new", "said"),
    [(["b"], "the new scalar b"), (["b", "c"], "2 new scalars, such as b"), ([], "")],
)
def test_a_log_names_the_new_scalars_that_its_table_lacks(tmp_path, new, said):
    Log(tmp_path, ["a"], 1).close()
    log = Log(tmp_path, ["a", *new], 2)
    log.close()
    assert log.lacking == (said and f"progress.csv keeps its columns and lacks {said}")


def test_a_log_has_the_names_of_layers_in_utf_8_whatever_the_locale(tmp_path):
    before = locale.setlocale(locale.LC_CTYPE)
    locale.setlocale(locale.LC_CTYPE, "C")
    try:
        Log(tmp_path, ["ä"], 1).close()
        log = Log(tmp_path, ["ä"], 2)
        log.close()
    finally:
        locale.setlocale(locale.LC_CTYPE, before)
    assert not log.lacking
    assert (tmp_path / "progress.csv").read_text("utf-8") == "step,ä\n"


def test_only_the_shares_of_actions_continue_under_a_longer_name(tmp_path):
    header = ["step", "actions/share_1", "train/ratio"]
    (tmp_path / "progress.csv").write_text(",".join(header) + "\n")
    longer = ["actions/share_10_FIRE", "actions/share_1_NOOP", "train/ratio_max"]
    log = Log(tmp_path, longer, 1)
    log.write(9, dict.fromkeys(longer, 0.5))
    log.close()
    assert rows(tmp_path) == [dict(zip(header, ["9", "0.5", ""], strict=True))]
