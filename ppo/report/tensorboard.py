"""TensorBoard, except that its HPARAMS tab compares all the runs that it shows, and that its short
address leads to the main charts. Unchanged, TensorBoard would show one run's table for
all runs.

``python -m ppo.report.tensorboard QUERY`` takes the query of the main charts, and TensorBoard's
arguments.
"""

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from tensorboard import program
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


def _serve(query: str, arguments: list[str]) -> int:
    """Serve with these arguments of TensorBoard. The bare address leads to one with the query."""

    def server(app: Callable, flags: object) -> Any:
        def leading(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
            if environ["PATH_INFO"] == "/" and not environ["QUERY_STRING"]:
                start_response("302 Found", [("Location", f"/?{query}#timeseries")])
                return []
            return app(environ, start_response)

        return program.create_port_scanning_werkzeug_server(leading, flags)

    board = program.TensorBoard(server_class=server)
    board.configure(["tensorboard", *arguments])
    return board.main()


if __name__ == "__main__":
    backend_context.Context._find_experiment_tag = _compared
    sys.exit(_serve(sys.argv[1], sys.argv[2:]))
