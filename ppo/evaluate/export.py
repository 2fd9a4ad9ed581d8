"""Export a trained network to a file that works without this package: ``--export``."""

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ppo.checkpoint import Which
from ppo.errors import PPOError
from ppo.evaluate.agent import load
from ppo.files.atomic import replacing
from ppo.files.folder import FolderError, check_parent
from ppo.files.held import held, with_names
from ppo.system.arguments import expanded
from ppo.system.streams import first_line, say

if TYPE_CHECKING:
    import keras

FOLDER = ""  # the suffix of a SavedModel
SUFFIXES = (".keras", ".onnx", FOLDER)
WRITE_ONNX = ("tf2onnx", "onnx")  # packages with which Keras writes ONNX


class ExportError(PPOError):
    """The network could not be written; no file was left behind."""


def export_run(logdir: Path, target: str, which: Which = "newest", replace: bool = False) -> Path:
    """Write the network of a run's checkpoint in float32, and print its inputs and outputs. The run
    may be in progress.

    ``target`` is a new file that ends in .keras or .onnx, or a new folder, which becomes a
    SavedModel. The name of a folder has no suffix, or ends in "/". With ``replace``, a file may
    exist. Raises FolderError (nothing was created), ExportError, and the errors of ``load``.
    """
    path = expanded(target)
    # For pathlib a name such as ".keras" has no suffix.
    own = path.name if path.name in SUFFIXES else path.suffix
    suffix = FOLDER if target.endswith("/") else own
    _check(path, suffix, replace)
    with held(path.absolute().parent) as parent:  # it may be a run's folder, and be moved
        agent = load(logdir, which)

        from ppo.evaluate.portable import portable

        try:
            network = portable(agent.policy.network)
        except Exception as error:  # any kind: it may come from a layer of the user
            raise ExportError(
                f"{agent.params.network} has a layer that Keras cannot copy: {first_line(error)}"
            ) from error
        _, *shape = network.input.shape
        network(np.zeros((1, *shape), network.input.dtype))  # ONNX needs one call
        _write(network, parent / path.name, suffix, replace)
        say(
            f"{with_names(path)}: the network {network.name} of {agent.params.env_id} at step "
            f"{agent.step:,}, for {network.input.dtype} observations [n, "
            f"{', '.join(map(str, shape))}]; "
            f"outputs: logits [n, {network.output['logits'].shape[1]}], value [n]"
        )
    return path


def _check(path: Path, suffix: str, replace: bool) -> None:
    if suffix not in SUFFIXES:
        raise FolderError(
            f"{path}: there is no format {suffix}. The name chooses it: FILE.keras, FILE.onnx, or "
            "FOLDER/ for a SavedModel"
        )
    if path.exists() and not replace:
        raise FolderError(f"{path} exists; choose a free name, or remove it first")
    check_parent(path)
    missing = [name for name in WRITE_ONNX if not find_spec(name)]
    if suffix == ".onnx" and missing:
        raise FolderError(
            f"{path}: Keras writes ONNX with tf2onnx, which is not part of this package. "
            f"{' and '.join(missing)} cannot be found; install with: pip install tf2onnx onnx. "
            "FILE.keras needs neither"
        )


def _write(network: "keras.Model", path: Path, suffix: str, replace: bool = False) -> None:
    """Write to an absolute path, because parts of Keras mistake some names for URLs."""
    try:
        with replacing(path, suffix) as partial:
            if suffix == ".keras":
                network.save(partial)
            else:
                format_ = "tf_saved_model" if suffix == FOLDER else "onnx"
                network.export(str(partial), format=format_, verbose=False)
            if os.path.lexists(path) and not replace:
                raise FileExistsError("its name was taken meanwhile; choose a free name")
    except Exception as error:  # any kind: it may come from another package
        raise ExportError(f"{path} could not be written: {first_line(error)}") from error
