"""TensorBoard, except that its HPARAMS tab compares all the runs that it shows. Its own takes the
table of one of them for all: ``python -m ppo.report.tensorboard``, with TensorBoard's arguments.
"""

from collections.abc import Mapping

from tensorboard import main
from tensorboard.plugins.hparams import backend_context, metadata
from tensorboard.plugins.hparams.api_pb2 import Experiment

from ppo.telemetry import hparams


def _compared(
    _: object, runs: Mapping[str, Mapping[str, bytes]], with_scores: bool
) -> Experiment | None:
    """Return the table of all runs, from the settings that each has written."""
    tag = metadata.SESSION_START_INFO_TAG
    written = [tags[tag] for tags in runs.values() if tag in tags]
    settings = [
        {key: getattr(value, value.WhichOneof("kind")) for key, value in info.hparams.items()}
        for info in map(metadata.parse_session_start_info_plugin_data, written)
    ]
    if not settings:
        return None
    table = hparams.experiment(settings)
    if not with_scores:
        table.ClearField("metric_infos")
    return table


if __name__ == "__main__":
    backend_context.Context._find_experiment_tag = _compared
    main.run_main()
