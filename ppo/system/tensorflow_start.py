"""Start TensorFlow: its threads, what would change a run's bits, and no log output."""

import faulthandler
import gc
import os
import subprocess
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import partial
from typing import IO, Any

from ppo.errors import Refused
from ppo.system import children, last_words, numerics
from ppo.system.streams import note, replace_closed_streams, say

_survived = False  # whether TensorFlow has started in this process
_starting = threading.Lock()  # held by the thread that starts it


def start_tensorflow(threads: int, connect: Callable[[], Any] = lambda: None) -> Any:
    """Import TensorFlow with one thread per operation and ``threads`` operations at once. Return
    the result of ``connect``, which is called before any operation runs, since a distribution
    strategy cannot be made later.

    With one thread per operation its sums have a fixed order, so the same run gives the same bits.
    A minibatch is sliced to use all cores. May be called again with another number of threads,
    which then changes only the speed.

    TensorFlow's output during the import is shown only if the import fails or ends the process, or
    if other threads run, whose messages would be lost with it.
    Raises Refused if TensorFlow cannot be imported, or has no folder for the code that it
    generates. Also raises it if TensorFlow was used before with several threads per operation,
    which would change a run's bits.
    """
    replace_closed_streams()
    set_environment()
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise Refused(
            "TensorFlow needs a folder for temporary files; set TMPDIR to one that can be written"
        ) from error
    if not _survived:
        note("starting TensorFlow ...")
    with _starting, _shown_after_a_crash() as held:
        quiet = partial(_stderr_held_back, held) if _is_alone() else nullcontext
        with quiet():
            tf, keras = import_tensorflow()
            _configure(tf, keras)
            _set_threads(tf, threads)
        connected = connect()
        with quiet():
            # At the first transposition of bytes, oneDNN prints that it does not support them.
            tf.transpose(tf.zeros([1, 2], tf.uint8))
    return connected


def import_tensorflow() -> tuple[Any, Any]:
    """Import TensorFlow and Keras, after ``set_environment``. Raises Refused."""
    collects = gc.isenabled()
    gc.disable()  # 0.6 of 3.8 seconds: hundreds of thousands of new objects that all stay
    # An entry of None makes an import fail: Keras then skips matplotlib, which saves 0.4 seconds.
    if hides_figures := _is_alone() and "matplotlib" not in sys.modules:
        sys.modules["matplotlib"] = None  # type: ignore[assignment]
    try:
        # OpenCV is used later. A failure for lack of memory is reported here.
        import cv2  # noqa: F401
        import keras
        import tensorflow as tf
    except ImportError as error:
        reason: BaseException = error
        while reason.__context__:  # TensorFlow's error repeats a whole traceback
            reason = reason.__context__
        raise Refused(
            f"TensorFlow cannot be imported ({reason}): install requirements.txt again, or give "
            "the process more memory"
        ) from error
    finally:
        if hides_figures:
            del sys.modules["matplotlib"]
        if collects:
            gc.enable()
    return tf, keras


def _is_alone() -> bool:
    """Whether this is the only thread, so what is changed for a moment disturbs no other one."""
    return threading.active_count() == 1


def set_environment() -> None:
    """Set the variables that TensorFlow reads on import. Print the user's ignored ones."""
    os.environ["KERAS_BACKEND"] = "tensorflow"  # whatever backend the user prefers
    if os.path.expanduser("~") == "~":  # no home folder: Keras would create one with that name
        os.environ.setdefault("KERAS_HOME", os.devnull)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    # Use a GPU's memory as needed: an evaluation may run beside the training.
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    too_late = "tensorflow" in sys.modules
    changed = numerics.force(too_late)
    variables = ", ".join(f"{name}={value}" for name, value in changed.items())
    if changed and too_late:
        warnings.warn(
            f"TensorFlow was imported with {variables}: on some processors the run is slower and "
            "not bit-identical to the command's. Start the run before anything imports tensorflow, "
            f"or set {' '.join(f'{name}={value}' for name, value in numerics.FORCED.items())}",
            stacklevel=3,
        )
    elif changed:
        say(f"ignored, since it would change a run's results: {variables}", sys.stderr)


def _configure(tf: Any, keras: Any) -> None:
    """Undo what the user's ``keras.json``, or a program, has configured and what would change a
    run's bits. Raises Refused if Keras was imported before with another backend.
    """
    if keras.backend.backend() != "tensorflow":
        raise Refused(
            f"Keras already runs on {keras.backend.backend()} in this process; import ppo first, "
            "or set KERAS_BACKEND=tensorflow"
        )
    keras.config.set_floatx("float32")
    keras.config.set_epsilon(1e-7)
    keras.config.set_image_data_format("channels_last")
    keras.config.set_dtype_policy("float32")
    tf.config.run_functions_eagerly(False)
    if tf.config.optimizer.get_jit():
        tf.config.optimizer.set_jit(False)


def _set_threads(tf: object, threads: int) -> None:
    threading = tf.config.threading  # type: ignore[attr-defined]
    try:
        threading.set_intra_op_parallelism_threads(1)
        threading.set_inter_op_parallelism_threads(threads)
    except RuntimeError as error:  # TensorFlow has run an operation already
        if threading.get_intra_op_parallelism_threads() != 1:
            raise Refused(
                "TensorFlow has already run in this process with several threads per operation, "
                "which would change the run's bits; start the run first, or in its own process. If "
                "your environment uses TensorFlow, call tf.config.threading."
                "set_intra_op_parallelism_threads(1) where its module imports TensorFlow"
            ) from error


@contextmanager
def _shown_after_a_crash() -> Iterator[IO[bytes]]:
    """Open a file for messages, which another process shows if this one crashes meanwhile."""
    global _survived
    # The file is in memory, since there may be no folder for temporary files.
    with open(children.unnamed_file("stderr"), "w+b", buffering=0) as held, ExitStack() as ending:
        if not _survived:
            watcher = [sys.executable, "-I", "-S", last_words.__file__, str(held.fileno())]
            streams: dict[str, Any] = {"stdin": subprocess.PIPE, "pass_fds": [held.fileno()]}
            with suppress(OSError):  # no process can be started
                ending.enter_context(
                    children.start(watcher, at_death=None, start_new_session=True, **streams)
                )
            if not faulthandler.is_enabled():
                faulthandler.enable(held, all_threads=False)
                ending.callback(faulthandler.disable)
        yield held
    _survived = True


@contextmanager
def _stderr_held_back(held: IO[bytes]) -> Iterator[None]:
    """Redirect file descriptor 2 to ``held``, because no log level of TensorFlow silences it
    completely. Show what was held if there is an error.
    """
    sys.stderr.flush()
    real = os.dup(2)
    os.dup2(held.fileno(), 2)
    try:
        yield
    except (Exception, SystemExit):
        os.write(real, os.pread(held.fileno(), os.fstat(held.fileno()).st_size, 0))
        raise
    finally:
        os.dup2(real, 2)
        os.close(real)
        held.truncate(0)
        held.seek(0)
