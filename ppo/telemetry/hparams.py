"""Settings and scores of runs as TensorBoard's hparams plugin reads them."""

from collections.abc import Mapping, Sequence

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2 as api
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.plugins.hparams.summary_v2 import hparams_pb

from ppo.envs import registry
from ppo.settings import CHOSEN_AT_START, Params
from ppo.settings.describe import form_of
from ppo.settings.fields import RunSettings
from ppo.telemetry.scalars import SCORE

# The scalars by which runs are compared, and their names in the plugin.
METRICS = {SCORE: "score", "rollout/ep_rew_best": "best game", "eval/mean_reward": "evaluation"}
TYPES = {bool: api.DATA_TYPE_BOOL, int: api.DATA_TYPE_FLOAT64, float: api.DATA_TYPE_FLOAT64}
COMPARED = [*(key for key in Params.model_fields if key not in RunSettings.model_fields), "seed"]


def experiment(runs: Sequence[Mapping[str, object]]) -> api.Experiment:
    """Return what a table of runs with these settings shows: their scores, and the settings that
    differ between the runs. If none does, it shows those that differ from the game's defaults, or
    else the game. TensorBoard lists settings before scores. A setting equal in all runs would push
    a score out of view.
    """
    defaults = {key: Params.model_fields[key].default for key in COMPARED}
    values = {key: {_plain(run.get(key, defaults[key])) for run in runs} for key in COMPARED}
    differing = [key for key, different in values.items() if len(different) > 1]
    if not differing:
        (env_id,) = values["env_id"]
        if ":" not in str(env_id):  # a stranger's run names a module that must not be imported
            defaults |= registry.settings_for(str(env_id))
        unusual = [key for key in COMPARED if values[key] != {_plain(defaults[key])}]
        differing = [key for key in unusual if key not in CHOSEN_AT_START] or ["env_id"]
    infos = [
        api.HParamInfo(
            name=key,
            type=TYPES.get(form_of(key).type, api.DATA_TYPE_STRING),
            description=Params.model_fields[key].description or "",
            differs=True,
        )
        for key in differing
    ]
    metrics = [
        api.MetricInfo(name=api.MetricName(tag=tag), display_name=name)
        for tag, name in METRICS.items()
    ]
    return api.Experiment(hparam_infos=infos, metric_infos=metrics)


def summaries(settings: Mapping[str, object]) -> list[Summary.Value]:
    """Return what a run writes: a table of this run alone, and its settings that are not null."""
    table = HParamsPluginData(experiment=experiment([settings]))
    about = metadata.create_summary_metadata(table)
    given = {key: _plain(value) for key, value in settings.items() if value is not None}
    return [
        Summary.Value(tag=metadata.EXPERIMENT_TAG, metadata=about, tensor=metadata.NULL_TENSOR),
        *hparams_pb(given, trial_id="").value,  # TensorBoard would join the runs of one trial
    ]


def _plain(value: object) -> object:
    """Return a setting as the plugin gives it back."""
    return str(value) if isinstance(value, list) else value
