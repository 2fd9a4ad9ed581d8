import hashlib
import io
import json
import math
import os
import re
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from ppo import checkpoint
from ppo.checkpoint import (
    Checkpoint,
    CheckpointError,
    NewerVersionError,
    NoCheckpoint,
    State,
    TrainerFacts,
    UnfinishedFacts,
    decode,
    encode,
    grouped,
    load_weights,
)
from ppo.files.folder import RunFolder
from ppo.telemetry.counters import Count, Tally

QUICK = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

DTYPES = st.sampled_from(["f4", "f8", "i4", "i8", "u1", "?"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: arrays_of.arrays(
        np.dtype(dtype), arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)
NAMES = st.from_regex(r"[a-z]{1,6}/[0-9]{1,2}", fullmatch=True)
COUNTS = st.integers(0, 10**12)
SCORES = st.floats(allow_nan=False, allow_infinity=False)
TRAINERS = st.builds(
    TrainerFacts,
    tally=st.builds(
        Tally,
        iteration=COUNTS,
        epochs=COUNTS,
        episodes=COUNTS,
        best_score=st.none() | SCORES,
        recent=st.lists(st.tuples(SCORES, COUNTS), max_size=3).map(tuple),
    ),
    unfinished=st.lists(
        st.builds(
            UnfinishedFacts, seeds_used=COUNTS, seed=st.integers(0, 2**31 - 1), resets=COUNTS
        ),
        max_size=3,
    ).map(tuple),
    schedules=st.none() | st.tuples(SCORES, SCORES),
)
VALUES = st.none() | st.booleans() | SCORES | st.text(max_size=4) | st.lists(SCORES, max_size=2)
PARTS = st.dictionaries(
    st.text(max_size=4), st.dictionaries(st.text(max_size=4), VALUES, max_size=3), max_size=3
)


def small(step: int = 7) -> Checkpoint:
    weights = [np.arange(6, dtype=np.float32).reshape(2, 3) + step, np.array([step], np.int64)]
    facts = TrainerFacts(tally=Tally(iteration=1, best_score=2.5, recent=((0.1, 7),)))
    return Checkpoint(step, grouped("weights", weights), facts, {"run": {"params": {"é": None}}})


def identical(one: Checkpoint, other: Checkpoint) -> bool:
    return (
        (one.step, one.trainer, one.parts) == (other.step, other.trainer, other.parts)
        and one.arrays.keys() == other.arrays.keys()
        and all(array.dtype == other.arrays[key].dtype for key, array in one.arrays.items())
        and all(array.shape == other.arrays[key].shape for key, array in one.arrays.items())
        and all(array.tobytes() == other.arrays[key].tobytes() for key, array in one.arrays.items())
    )


def with_checksum(body: bytes, name: bytes = b"ppo-checkpoint-4") -> bytes:
    return name + b" " + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def zipped(**arrays: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def facts_array(facts: object) -> np.ndarray:
    return np.frombuffer(json.dumps(facts).encode(), np.uint8)


@pytest.fixture
def folder(tmp_path):
    return RunFolder(tmp_path)


def path_of(folder: RunFolder, step: int) -> Path:
    return folder.checkpoints / f"step-{step:012d}.ckpt"


def steps_in(folder: RunFolder) -> list[int]:
    return sorted(int(re.findall(r"\d+", path.name)[0]) for path in folder.checkpoints.iterdir())


# --- the content of the file


@given(
    step=COUNTS,
    arrays=st.dictionaries(NAMES, ARRAYS, max_size=4),
    trainer=TRAINERS,
    parts=PARTS,
)
@QUICK
def test_decoding_gives_back_every_bit_that_was_encoded(step, arrays, trainer, parts):
    before = Checkpoint(step, arrays, trainer, parts)
    assert identical(decode(encode(before)), before)


def test_numbers_that_are_not_finite_survive():
    odd = np.array([np.nan, np.inf, -np.inf, -0.0, 1e-45], np.float32)
    assert decode(encode(Checkpoint(0, {"a": odd}))).arrays["a"].tobytes() == odd.tobytes()


def test_groups_keep_their_order_beyond_ten():
    many = [np.array(number) for number in range(12)]
    assert decode(encode(Checkpoint(0, grouped("adam", many)))).group("adam") == many


def test_group_holds_its_own_arrays_alone():
    arrays = grouped("a", [np.array(1)]) | grouped("ab", [np.array(2), np.array(3)])
    assert Checkpoint(0, arrays).group("a") == [np.array(1)]
    assert Checkpoint(0, arrays).group("none") == []


VALID = encode(small())


@given(bit=st.integers(0, 8 * len(VALID) - 1))
@QUICK
def test_any_flipped_bit_is_noticed(bit):
    damaged = bytearray(VALID)
    damaged[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CheckpointError):
        decode(bytes(damaged))


# The first line is short and matters most, so each of its bits has its turn.
def test_any_flipped_bit_of_the_first_line_is_noticed():
    for bit in range(8 * (VALID.index(b"\n") + 1)):
        damaged = bytearray(VALID)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CheckpointError):
            decode(bytes(damaged))


@given(length=st.integers(0, len(VALID) - 1))
@QUICK
def test_any_truncation_is_noticed(length):
    with pytest.raises(CheckpointError):
        decode(VALID[:length])


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"PK\x03\x04", VALID[1:], VALID + b"x", b"\0" * 999]
)
def test_file_that_is_no_checkpoint_is_refused(content):
    with pytest.raises(CheckpointError):
        decode(content)


def test_other_format_version_is_named_beside_the_one_that_is_read():
    later = with_checksum(zipped(facts=facts_array({})), b"ppo-checkpoint-999")
    with pytest.raises(CheckpointError, match="ppo-checkpoint-999") as caught:
        decode(later)
    assert "reads the formats 2, 3, 4" in str(caught.value)


class Exploding:
    """Unpickling this would call ``fired``."""

    fired = False

    def __reduce__(self):
        return (setattr, (Exploding, "fired", True))


@pytest.mark.parametrize("place", ["facts", "weights/0"])
def test_pickle_is_refused_and_never_run(place):
    payload = np.array([Exploding()], dtype=object)
    arrays = {"facts": facts_array({"step": 1, "facts": {}}), place: payload}
    with pytest.raises(CheckpointError):
        decode(with_checksum(zipped(**arrays)))
    assert not Exploding.fired


@pytest.mark.parametrize(
    "body",
    [
        b"no zip at all",
        b"",
        zipped(),
        zipped(weights=np.zeros(2)),
        zipped(facts=np.frombuffer(b"{", np.uint8)),
        zipped(facts=facts_array({"facts": {}})),
        zipped(facts=facts_array({"step": 1})),
        zipped(facts=facts_array([1, 2])),
        zipped(facts=facts_array({"step": 1, "trainer": {}})),
        zipped(facts=facts_array({"step": 1, "trainer": {}, "parts": []})),
        zipped(facts=facts_array({"step": 1, "trainer": {}, "parts": {"run": 1}})),
        zipped(facts=facts_array({"step": 1, "trainer": 7, "parts": {}})),
    ],
)
def test_content_that_is_no_checkpoint_is_refused_though_its_checksum_is_right(body):
    with pytest.raises(CheckpointError, match=r"cannot be read|is invalid"):
        decode(with_checksum(body))


SOUND = {"step": 1, "trainer": {}, "parts": {}}


def packed(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return buffer.getvalue()


def member(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=allow_pickle)
    return buffer.getvalue()


def claiming(shape: tuple[int, ...], size: int = 64) -> bytes:
    """An array that says to have a shape, and has a size."""
    buffer = io.BytesIO()
    head = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, head)
    return buffer.getvalue() + bytes(size)


def patched(body: bytes, offset: int, content: bytes) -> bytes:
    """The archive with its first entry in the list at the end changed."""
    place = body.index(b"PK\x01\x02") + offset
    return body[:place] + content + body[place + len(content) :]


FACTS = member(facts_array(SOUND))
CRAFTED = {
    "a huge array": packed({"facts": FACTS, "weights/0": claiming((1 << 45,))}),
    "huge facts": packed({"facts": claiming((1 << 45,))}),
    "an overflowing shape": packed({"facts": FACTS, "weights/0": claiming((1 << 40, 1 << 40))}),
    "a negative shape": packed({"facts": FACTS, "weights/0": claiming((-4, -4))}),
    "an array cut off": packed({"facts": FACTS, "weights/0": claiming((17,))}),
    "an array and more": packed({"facts": FACTS, "weights/0": claiming((15,))}),
    "no array": packed({"facts": FACTS, "weights/0": b"text"}),
    "a head of brackets": packed({"facts": b"\x93NUMPY\x01\x00\x10\x27" + b"(" * 10_000}),
    "deflated": packed({"facts": FACTS, "weights/0": bytes(10**6)}, zipfile.ZIP_DEFLATED),
    "bzip2": packed({"facts": FACTS}, zipfile.ZIP_BZIP2),
    "an unknown compression": patched(packed({"facts": FACTS}), 10, b"\x63\x00"),
    "a wrong size": patched(packed({"facts": FACTS}), 24, b"\xff\xff\xff\x7f"),
    "encrypted": patched(packed({"facts": FACTS}), 8, b"\x01\x00"),
    "objects": packed({"facts": FACTS, "weights/0": member(np.array([{}]), allow_pickle=True)}),
    "words": packed({"facts": FACTS, "weights/0": member(np.array(["a"]))}),
    "a structure": packed({"facts": FACTS, "weights/0": member(np.zeros(2, "i4,f4"))}),
    "deep facts": packed({"facts": member(np.full(200_000, ord("["), np.uint8))}),
    "a step beyond numbers": zipped(facts=facts_array(SOUND | {"step": float("inf")})),
    "a step of words": zipped(facts=facts_array(SOUND | {"step": "1"})),
    "a step before the first": zipped(facts=facts_array(SOUND | {"step": -1})),
    "a count beyond numbers": zipped(
        facts=facts_array(SOUND | {"trainer": {"tally": {"epochs": 10**400}}})
    ),
    "actions in two dimensions": packed(
        {"facts": FACTS, "actions/0": member(np.ones((2, 2), int))}
    ),
    "actions that are no numbers": packed({"facts": FACTS, "actions/0": member(np.ones(2))}),
    "actions below zero": packed({"facts": FACTS, "actions/0": member(np.array([0, -1]))}),
}


@pytest.mark.parametrize("name", CRAFTED)
def test_crafted_content_is_refused_in_one_line_though_its_checksum_is_right(name):
    with pytest.raises(CheckpointError) as caught:
        decode(with_checksum(CRAFTED[name]))
    assert str(caught.value) and "\n" not in str(caught.value)
    assert not isinstance(caught.value, NewerVersionError)


def test_array_that_says_to_be_huge_takes_no_memory(monkeypatch):
    taken = []
    make = np.ndarray
    monkeypatch.setattr(np, "ndarray", lambda *given, **more: taken.append(given) or make(*given))
    with pytest.raises(CheckpointError, match="shape"):
        decode(with_checksum(CRAFTED["huge facts"]))
    assert not taken


def test_array_in_column_order_is_read_as_it_was():
    array = np.asfortranarray(np.arange(6).reshape(2, 3))
    read = decode(with_checksum(zipped(facts=facts_array(SOUND), a=array))).arrays["a"]
    assert np.array_equal(read, array) and read.flags.writeable


@pytest.mark.parametrize("name", ["weights", "adam", "actions"])
def test_group_with_a_gap_is_refused_in_one_line(name):
    arrays = {f"{name}/0": np.zeros(1), f"{name}/2": np.zeros(1)}
    with pytest.raises(CheckpointError, match=f"step 5 lacks {name}/1"):
        Checkpoint(5, arrays).group(name)


# --- the facts


@pytest.mark.parametrize(
    "change",
    [
        {"tally": {"iteration": -1}},
        {"tally": {"iteration": 1.5}},
        {"tally": {"recent": [[1.0]]}},
        {"tally": {"recent": [[math.inf, 5]]}},
        {"tally": {"rollbacks": 5000}},
        {"tally": {"best_score": math.nan}},
        {"tally": {"iteration": 2**62}},
        {"tally": {"unknown": 1}},
        {"unfinished": [{"seeds_used": 1, "seed": 2**31, "resets": 0}]},
        {"schedules": [math.nan, 0.1]},
        {"unknown": 1},
    ],
    ids=str,
)
def test_facts_that_no_run_writes_are_refused_by_their_name(change):
    (name,) = change
    facts = SOUND | {"trainer": change}
    with pytest.raises(CheckpointError, match=f"its field trainer.{name}.* is invalid"):
        decode(with_checksum(zipped(facts=facts_array(facts))))


class Keys(State):
    """The state of a part."""

    count: Count = 0


def test_a_part_of_the_run_validates_its_own_state():
    saved = small().with_part("keys", Keys(count=3))
    assert decode(encode(saved)).part("keys", Keys) == Keys(count=3)
    assert small().part("keys", Keys) == Keys()
    for state, kind in (({"count": -1}, CheckpointError), ({"newer": 1}, NewerVersionError)):
        with pytest.raises(kind, match=r"step 0.*its field keys.* is invalid"):
            Checkpoint(0, {}, parts={"keys": state}).part("keys", Keys)


# As format 2 had them, side by side and with lists in place of names.
FORMAT_2 = {
    "iteration": 3,
    "epochs": 12,
    "games_played": 2,
    "best_score": 5.0,
    "recent": [[5.0, 10], [4.0, 8]],
    "unfinished": [[2, 77, 1], [1, 78, 0]],
    "best_saved": 4.5,
    "seconds": 1.5,
    "means": {"train/loss": [0.25, 2]},
    "due": [True, False, True],
    "params": {"seed": 1},
    "versions": {"numpy": "2"},
    "schedules": [1e-3, 0.1],
    "log": {"progress.csv": 10},
}


def test_format_2_is_still_read():
    body = zipped(facts=facts_array({"step": 96, "facts": FORMAT_2}), smoothed=np.zeros(2))
    read = decode(with_checksum(body, b"ppo-checkpoint-2"))
    assert (read.step, read.arrays.keys()) == (96, {"smoothed"})
    assert read.trainer == TrainerFacts(
        tally=Tally(3, 12, 2, best_score=5.0, recent=((5.0, 10), (4.0, 8))),
        unfinished=(
            UnfinishedFacts(seeds_used=2, seed=77, resets=1),
            UnfinishedFacts(seeds_used=1, seed=78, resets=0),
        ),
        schedules=(1e-3, 0.1),
    )
    run = {"best_saved": 4.5, "seconds": 1.5, "params": {"seed": 1}, "versions": {"numpy": "2"}}
    assert read.parts == {
        "run": run,
        "log": {"due": True, "means": {"train/loss": [0.25, 2]}, "sizes": {"progress.csv": 10}},
        "evaluation": {"due": False},
        "video": {"wanted": True, "shown": None},
        "replay_check": {"wanted": False},
        "guard": {"mode": None, "watch": {}, "warned": False},
    }


FORMAT_3 = {
    "step": 96,
    "trainer": {"iteration": 3, "games_played": 2, "rollbacks": 2, "observations": 5},
    "session": {
        "due": {"log": False, "evaluation": True, "video": False, "replay_check": True},
        "guard": {
            **{"recent": [0.1], "best": 0.5, "low": 0.1, "evidence": 2.0, "quiet": 3},
            **{"told": True, "kept": {"healthy": {"best": 0.4}}},
        },
        "params": {"workers": 2, "collapse_guard": "rollback"},
        "pictured": 64,
    },
}


def test_format_3_is_still_read():
    read = decode(with_checksum(zipped(facts=facts_array(FORMAT_3)), b"ppo-checkpoint-3"))
    assert (read.trainer.workers, read.trainer.observations) == (2, 5)
    # Each rollback halved the learning rate, before a checkpoint had what was left of it.
    assert read.trainer.tally == Tally(iteration=3, episodes=2, rollbacks=2, rate_share=0.25)
    assert read.parts["evaluation"] == {"due": True}
    assert read.parts["replay_check"] == {"wanted": True}
    assert read.parts["video"] == {"wanted": False, "shown": 64}
    assert read.parts["guard"] == {
        **{"mode": "rollback", "quiet": 3, "warned": True, "kept": {"healthy": {"best": 0.4}}},
        "watch": {"recent": [0.1], "best": 0.5, "low": 0.1, "evidence": 2.0},
    }


@pytest.mark.parametrize("missing", FORMAT_2)
def test_format_2_with_a_fact_missing_is_refused(missing):
    facts = {key: value for key, value in FORMAT_2.items() if key != missing}
    with pytest.raises(CheckpointError, match="cannot be read"):
        decode(
            with_checksum(
                zipped(facts=facts_array({"step": 96, "facts": facts})), b"ppo-checkpoint-2"
            )
        )


# --- the files


def test_saved_checkpoint_is_the_newest(folder):
    for step in (0, 9, 1000):
        checkpoint.save(folder, small(step), kept=9)
        assert path_of(folder, step).is_file()
        assert identical(checkpoint.newest(folder), small(step))


def test_newest_is_the_one_of_the_largest_step_not_of_the_latest_writing(folder):
    for step in (20, 9):
        path = path_of(folder, step)
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(checkpoint.encode(small(step)))
    assert checkpoint.newest(folder).step == 20


def test_later_ones_that_were_passed_over_do_not_push_out_valid_ones(folder):
    for step in (10, 20, 30, 40):
        checkpoint.save(folder, small(step), kept=4)
    for step in (30, 40):
        path_of(folder, step).write_bytes(b"damaged")
    checkpoint.save(folder, small(25), kept=2)
    assert checkpoint.steps(folder) == [25, 20]


def test_the_best_is_the_last_resort(folder):
    checkpoint.save(folder, small(20), kept=4, best=True)
    path_of(folder, 20).write_bytes(b"damaged")
    assert checkpoint.newest(folder).step == 20


@pytest.mark.parametrize(("kept", "left"), [(1, [40]), (2, [30, 40]), (3, [20, 30, 40]), (9, None)])
def test_only_the_newest_are_kept(folder, kept, left):
    steps = [0, 10, 20, 30, 40]
    for step in steps:
        checkpoint.save(folder, small(step), kept)
    assert steps_in(folder) == (left or steps)


@pytest.mark.parametrize(
    ("step", "left"), [(5, [5, 4, 1]), (4, [5, 4, 3, 1]), (3, [5, 4, 3, 2, 1])]
)
def test_only_those_up_to_a_step_are_pruned(folder, step, left):
    for number in range(1, 6):
        checkpoint.save(folder, small(number), kept=9)
    checkpoint.prune(folder, step, kept=2, keep_all=range(2))
    assert checkpoint.steps(folder) == left


def test_best_one_is_kept_beside_the_newest_until_a_better_one_comes(folder):
    for step, best in ((1, True), (2, False), (3, True), (4, False), (5, False)):
        checkpoint.save(folder, small(step), kept=1, best=best)
        names = {path.name for path in folder.checkpoints.iterdir()}
        assert names == {f"step-{step:012d}.ckpt", "best.ckpt"}
        saved = decode((folder.checkpoints / "best.ckpt").read_bytes())
        assert identical(saved, small(1 if step < 3 else 3))
        assert checkpoint.newest(folder).step == step


def test_what_records_that_the_best_is_saved_is_written_after_the_best(folder, monkeypatch):
    checkpoint.save(folder, small(1), kept=2, best=True)
    write_whole, allowed = checkpoint.write_whole, [None]

    def power_cut(*what):
        allowed.pop()  # an IndexError from the second one on
        write_whole(*what)

    monkeypatch.setattr(checkpoint, "write_whole", power_cut)
    with pytest.raises(IndexError):
        checkpoint.save(folder, small(2), kept=2, best=True)
    assert (checkpoint.chosen(folder, "best").step, checkpoint.newest(folder).step) == (2, 1)


def test_old_ones_are_removed_only_after_the_new_one_is_written(folder, monkeypatch):
    checkpoint.save(folder, small(1), kept=1)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        checkpoint.save(folder, small(2), kept=1)
    assert checkpoint.newest(folder).step == 1


FOREIGN = [
    "step-my-backup.ckpt",
    "step-000000000009-copy.ckpt",
    "step-9.ckpt",
    "step-0000000000009.ckpt",
    "step-00000000000９.ckpt",
    "step-000000000009.ckpt.skipped",
]


@pytest.mark.parametrize("name", FOREIGN)
def test_checkpoint_under_another_name_is_neither_read_nor_removed(folder, name):
    for step in (1, 2):
        checkpoint.save(folder, small(step), kept=9)
    (folder.checkpoints / name).write_bytes(encode(small(9)))
    warnings = []
    assert checkpoint.newest(folder, warnings.append).step == 2
    assert checkpoint.steps(folder) == [2, 1]
    assert warnings == []
    checkpoint.save(folder, small(3), kept=1)
    assert (folder.checkpoints / name).read_bytes() == encode(small(9))
    assert checkpoint.steps(folder) == [3]


def test_steps_beyond_twelve_digits_are_the_newest(folder):
    for step in (10**12 - 1, 10**12):
        checkpoint.save(folder, small(step), kept=1)
    assert checkpoint.steps(folder) == [10**12]


def test_checkpoint_that_was_renamed_to_a_later_step_is_passed_over(folder):
    for step in (1, 2):
        checkpoint.save(folder, small(step), kept=9)
    path_of(folder, 9).write_bytes(path_of(folder, 1).read_bytes())
    warnings = []
    assert checkpoint.newest(folder, warnings.append).step == 2
    (warning,) = warnings
    assert "it contains step 1" in warning


def by_a_newer_version() -> list[bytes]:
    more = SOUND | {"step": 9, "trainer": {"unheard_of": 1}}
    return [
        with_checksum(b"of another kind", b"ppo-checkpoint-5"),
        b"ppo-checkpoint-12 sha3-512 " + b"0" * 128 + b"\n",
        with_checksum(zipped(facts=facts_array(more))),
    ]


@pytest.mark.parametrize("content", by_a_newer_version())
def test_checkpoint_of_a_newer_version_is_not_passed_over(folder, content):
    checkpoint.save(folder, small(1), kept=9)
    path = path_of(folder, 9)
    path.write_bytes(content)
    with pytest.raises(NewerVersionError, match="was made by a newer version") as caught:
        checkpoint.newest(folder)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert "move the file away" in caught.value.in_full()


@pytest.mark.parametrize("content", by_a_newer_version())
@pytest.mark.parametrize("name", ["best.ckpt", f"step-{9:012d}.ckpt", "fork-start.ckpt"])
def test_a_named_checkpoint_of_a_newer_version_is_refused_with_the_remedy(folder, name, content):
    path = folder.checkpoints / name
    folder.checkpoints.mkdir()
    path.write_bytes(content)
    read = {
        "best.ckpt": lambda: checkpoint.chosen(folder, "best"),
        f"step-{9:012d}.ckpt": lambda: checkpoint.chosen(folder, 9),
        "fork-start.ckpt": lambda: checkpoint.read(path),
    }
    with pytest.raises(NewerVersionError, match="Use that version") as caught:
        read[name]()
    assert caught.value.code == 2
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        encode(small(9)),
        b"damaged",
        with_checksum(b"of another kind", b"ppo-checkpoint-1"),
        with_checksum(zipped(facts=facts_array(SOUND | {"step": "nine"}))),
        *by_a_newer_version(),
    ],
)
def test_later_one_is_set_aside_and_never_removed(folder, content):
    checkpoint.save(folder, small(1), kept=9)
    path = path_of(folder, 9)
    for number, name in enumerate([f"{path.name}.skipped", f"{path.name}.skipped-2"], 2):
        path.write_bytes(content)
        checkpoint.save(folder, small(number), kept=1)
        assert checkpoint.newest(folder).step == number
        assert (folder.checkpoints / name).read_bytes() == content
    assert len(list(folder.checkpoints.iterdir())) == 3


def test_a_later_best_one_is_set_aside_and_an_earlier_one_stays(folder):
    checkpoint.save(folder, small(5), kept=9, best=True)
    assert not checkpoint.set_aside_later_best(folder, 5)
    assert checkpoint.chosen(folder, "best").step == 5
    assert checkpoint.set_aside_later_best(folder, 4)
    assert not checkpoint.set_aside_later_best(folder, 4)
    with pytest.raises(NoCheckpoint):
        checkpoint.chosen(folder, "best")
    assert (folder.checkpoints / "best.ckpt.skipped").read_bytes() == encode(small(5))


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: os.symlink("/dev/zero", path)])
def test_what_is_no_file_is_passed_over_and_stays(folder, make):
    checkpoint.save(folder, small(1), kept=9)
    for step in (2, 9):
        make(path_of(folder, step))
    warnings = []
    assert checkpoint.newest(folder, warnings.append).step == 1
    assert len(warnings) == 2 and all("not a regular file" in warning for warning in warnings)
    checkpoint.save(folder, small(3), kept=1)
    assert checkpoint.newest(folder).step == 3
    assert len(list(folder.checkpoints.iterdir())) == 3


def test_file_larger_than_the_memory_is_passed_over(folder):
    checkpoint.save(folder, small(1), kept=9)
    with open(path_of(folder, 9), "wb") as file:
        file.truncate(1 << 42)  # it takes no space on the disk
    warnings = []
    assert checkpoint.newest(folder, warnings.append).step == 1
    assert "larger than the available memory" in warnings[0]


def test_foreign_files_are_neither_read_nor_removed(folder):
    folder.checkpoints.mkdir()
    for name in ("notes.txt", ".step-000000000099.partial", "step-5.tmp"):
        (folder.checkpoints / name).write_text("mine")
    checkpoint.save(folder, small(1), kept=1)
    checkpoint.save(folder, small(2), kept=1)
    warnings = []
    assert checkpoint.newest(folder, warnings.append).step == 2
    assert warnings == []
    assert len(list(folder.checkpoints.iterdir())) == 4


def test_invalid_ones_are_passed_over_with_a_warning_that_names_them(folder):
    for step in (1, 2, 3):
        checkpoint.save(folder, small(step), kept=9)
    third, second = path_of(folder, 3), path_of(folder, 2)
    third.write_bytes(third.read_bytes()[:-1])
    second.write_bytes(b"")
    warnings = []
    assert identical(checkpoint.newest(folder, warnings.append), small(1))
    assert len(warnings) == 2
    assert str(third) in warnings[0] and str(second) in warnings[1]


def test_one_that_is_removed_between_listing_and_reading_has_newer_ones(folder, monkeypatch):
    checkpoint.save(folder, small(1), kept=1)
    read = checkpoint.read

    def read_too_late(path):
        if newer:
            checkpoint.save(folder, small(newer.pop()), kept=1)
        return read(path)

    newer, warnings = [3, 2], []  # the run saves twice meanwhile, and keeps one
    monkeypatch.setattr(checkpoint, "read", read_too_late)
    assert checkpoint.newest(folder, warnings.append).step == 3
    assert (newer, warnings) == ([], [])


def test_link_that_leads_nowhere_is_passed_over(folder):
    checkpoint.save(folder, small(1), kept=9)
    path_of(folder, 2).symlink_to("nowhere")
    warnings = []
    assert checkpoint.newest(folder, warnings.append).step == 1
    assert len(warnings) == 1


def test_the_newest_the_best_or_a_step_s_checkpoint_is_chosen(folder):
    for step in (0, 1, 2):
        checkpoint.save(folder, small(step), kept=9, best=step == 1)
    assert checkpoint.chosen(folder, "newest").step == 2
    assert checkpoint.chosen(folder, "best").step == 1
    assert checkpoint.chosen(folder, 0).step == 0


@pytest.mark.parametrize("which", ["best", 1])
def test_one_that_is_not_there_is_refused_with_what_to_use(folder, which):
    checkpoint.save(folder, small(1500), kept=9)
    with pytest.raises(NoCheckpoint, match=r"no best checkpoint; choose|there is: 1,500"):
        checkpoint.chosen(folder, which)


@pytest.mark.parametrize("name", ["best.ckpt", f"step-{7:012d}.ckpt"])
def test_damaged_one_that_was_asked_for_is_no_other(folder, name):
    checkpoint.save(folder, small(7), kept=9, best=True)
    (folder.checkpoints / name).write_bytes(b"")
    with pytest.raises(CheckpointError, match=name):
        checkpoint.chosen(folder, "best" if name == "best.ckpt" else 7)


def test_folder_in_place_of_a_checkpoint_is_passed_over(folder):
    checkpoint.save(folder, small(1), kept=9)
    (folder.checkpoints / "step-000000000002.ckpt").mkdir()
    assert checkpoint.newest(folder).step == 1


def test_without_a_valid_one_the_error_says_so_and_files_are_left_alone(folder):
    for step in (1, 2):
        checkpoint.save(folder, small(step), kept=9)
        path = path_of(folder, step)
        path.write_bytes(path.read_bytes().replace(b"weights", b"weighed"))
    before = {path: path.read_bytes() for path in folder.path.rglob("*.*")}
    warnings = []
    with pytest.raises(CheckpointError, match="none of 2 checkpoints is valid") as caught:
        checkpoint.newest(folder, warnings.append)
    assert str(folder.checkpoints) in str(caught.value)
    assert len(warnings) == 2
    assert {path: path.read_bytes() for path in folder.path.rglob("*.*")} == before


def test_without_any_the_error_says_so_and_nothing_is_created(folder):
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoint.newest(folder)
    assert list(folder.path.iterdir()) == []


def test_weights_are_read_from_the_newest_valid_one_in_order(folder):
    checkpoint.save(folder, small(1), kept=9)
    checkpoint.save(folder, small(2), kept=9)
    path_of(folder, 2).write_bytes(b"damaged")
    for logdir in (folder.path, str(folder.path)):
        weights = load_weights(logdir)
        assert [w.tolist() for w in weights] == [[[1, 2, 3], [4, 5, 6]], [1]]
