"""A run's settings, with their resulting scores, as TensorBoard's hparams plugin reads them."""

import time
from collections.abc import Mapping

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import (
    DATA_TYPE_BOOL,
    DATA_TYPE_FLOAT64,
    DATA_TYPE_STRING,
    Experiment,
    HParamInfo,
    MetricInfo,
    MetricName,
)
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

from ppo.settings import Params
from ppo.telemetry.scalars import SCORE

# The scalars by which runs are compared, and their names in the plugin.
METRICS = {
    SCORE: "score, last 100 games",
    "rollout/ep_rew_best": "best game",
    "eval/mean_reward": "score, evaluation",
}


def experiment(settings: Mapping[str, object]) -> Summary:
    """Return the settings and scores that can be compared."""
    infos = [
        HParamInfo(
            name=key, type=_type(value), description=Params.model_fields[key].description or ""
        )
        for key, value in settings.items()
    ]
    metrics = [
        MetricInfo(name=MetricName(tag=tag), display_name=name) for tag, name in METRICS.items()
    ]
    content = HParamsPluginData(experiment=Experiment(hparam_infos=infos, metric_infos=metrics))
    return _summary(metadata.EXPERIMENT_TAG, content)


def session(settings: Mapping[str, object]) -> Summary:
    """Return a run's settings, without null ones: the plugin has no null."""
    info = SessionStartInfo(start_time_secs=time.time())
    for key, value in settings.items():
        if isinstance(value, bool):
            info.hparams[key].bool_value = value
        elif isinstance(value, int | float):
            info.hparams[key].number_value = value
        elif value is not None:
            info.hparams[key].string_value = str(value)
    return _summary(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=info))


def _type(value: object) -> int:
    """Return the plugin's name for a setting's type; all settings that may be null are numbers."""
    if isinstance(value, bool):
        return DATA_TYPE_BOOL
    return DATA_TYPE_STRING if isinstance(value, str | list) else DATA_TYPE_FLOAT64


def _summary(tag: str, content: HParamsPluginData) -> Summary:
    value = Summary.Value(
        tag=tag, metadata=metadata.create_summary_metadata(content), tensor=metadata.NULL_TENSOR
    )
    return Summary(value=[value])
