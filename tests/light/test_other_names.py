"""Settings of other packages are answered with what they are called here, or why they are not."""

import pytest

from ppo.params import ParamsError, load
from ppo.settings import Params, other_names

# Every setting of each package's PPO, read in its source; what both call the same is left out.
THEIRS = {
    "Stable-Baselines3": "policy env n_steps batch_size n_epochs clip_range_vf normalize_advantage "
    "ent_coef vf_coef use_sde sde_sample_freq rollout_buffer_class rollout_buffer_kwargs "
    "stats_window_size tensorboard_log policy_kwargs verbose device total_timesteps callback "
    "tb_log_name progress_bar action_repeat_probability clip_reward n_envs",
    "rl-zoo3": "algo env tensorboard-log trained-agent n-timesteps num-threads eval-freq "
    "eval-episodes save-freq log-folder vec-env device n-trials n-jobs sampler pruner storage "
    "study-name verbose gym-packages env-kwargs track wandb-project-name wandb-entity normalize "
    "env_wrapper vec_env_wrapper monitor_kwargs policy_kwargs n_timesteps",
    "CleanRL": "exp_name torch_deterministic cuda track wandb_project_name wandb_entity "
    "capture_video save_model upload_model hf_entity total_timesteps anneal_lr update_epochs "
    "norm_adv clip_coef clip_vloss ent_coef vf_coef batch_size minibatch_size num_iterations "
    "device_ids backend local_num_envs local_batch_size local_minibatch_size world_size gym_id",
    "baselines": "env env_type alg num_timesteps network_kwargs gamestate num_env reward_scale "
    "save_path save_video_interval log_path play total_timesteps nsteps ent_coef lr vf_coef lam "
    "nminibatches noptepochs cliprange save_interval load_path model_fn value_network "
    "timesteps_per_actorbatch clip_param entcoeff optim_epochs optim_stepsize optim_batchsize "
    "max_timesteps max_episodes max_iters max_seconds callback schedule episode_life",
    "tianshou": "task scale_obs buffer_size lr epoch epoch_num_steps step_per_epoch "
    "collection_step_num_env_steps step_per_collect update_step_num_repetitions "
    "repeat_per_collect batch_size hidden_size num_training_envs training_num test_num "
    "return_scaling rew_norm vf_coef ent_coef lr_decay eps_clip dual_clip value_clip "
    "advantage_normalization recompute_adv recompute_advantage persistence_base_dir render device "
    "frames_stack resume_path resume_id logger_type watch save_buffer_name "
    "icm_lr_scale norm_adv max_batchsize actor_lr critic_lr max_epochs",
    "RLlib": "lr_schedule lr rollout_fragment_length train_batch_size use_critic use_gae "
    "minibatch_size sgd_minibatch_size num_sgd_iter shuffle_batch_per_epoch lambda_ lambda "
    "use_kl_loss kl_coeff kl_target vf_loss_coeff entropy_coeff clip_param "
    "vf_clip_param grad_clip num_env_runners num_workers vf_share_layers framework env "
    "num_envs_per_env_runner num_envs_per_worker batch_mode observation_filter num_gpus "
    "train_batch_size_per_learner model env_config exploration_config",
    "Sample Factory": "algo env experiment train_dir restart_behavior device num_policies async_rl "
    "serial_mode batched_sampling worker_num_splits max_policy_lag num_workers "
    "num_envs_per_worker batch_size num_batches_per_epoch rollout recurrence shuffle_minibatches "
    "reward_scale reward_clip value_bootstrap normalize_returns exploration_loss_coeff "
    "value_loss_coeff kl_loss_coeff exploration_loss ppo_clip_ratio ppo_clip_value with_vtrace "
    "optimizer adam_eps adam_beta1 adam_beta2 lr_schedule lr_adaptive_min obs_subtract_mean "
    "obs_scale normalize_input stats_avg train_for_env_steps train_for_seconds save_every_sec "
    "keep_checkpoints encoder_mlp_layers encoder_conv_architecture use_rnn rnn_size nonlinearity "
    "policy_initialization actor_critic_share_weights env_frameskip env_framestack with_wandb "
    "with_pbt push_to_hub eval_deterministic",
    "pytorch-a2c-ppo-acktr-gail": "algo gail gail-batch-size lr eps alpha use-gae value-loss-coef "
    "cuda-deterministic num-processes ppo-epoch num-mini-batch clip-param save-interval "
    "eval-interval num-env-steps env-name log-dir save-dir no-cuda use-proper-time-limits "
    "recurrent-policy use-linear-lr-decay",
}
NAMES = [(package, name) for package, names in THEIRS.items() for name in names.split()]


def fault(settings: dict[str, object]) -> str:
    """The only fault that a mapping's first key has."""
    with pytest.raises(ParamsError) as refused:
        load(settings)
    return refused.value.faults[0]


@pytest.mark.parametrize(("package", "name"), NAMES)
def test_setting_of_another_package_is_answered_from_the_table(package, name):
    part = fault({name: 1})
    answer = part.partition("there is no such setting; ")[2]
    assert answer.startswith(("here it is ", "it has no counterpart: "))
    spelled = name.upper().replace("_", "-")
    other = fault({spelled: 1}).partition("; ")[2]
    assert other.lower().replace(spelled.lower(), name.lower()) == answer.lower()


def test_table_has_each_name_once_and_none_of_ours():
    tables = (other_names.NAMES, other_names.DIFFERENT, other_names.ABSENT)
    names = " ".join(names for table in tables for names in table.values()).split()
    names += other_names.COMPUTED_ANSWERS
    assert len(names) == len({*names}) and not {*names} & Params.model_fields.keys()
    assert other_names.NAMES.keys() <= Params.model_fields.keys()
    assert all(other_names.plain(name) == name for name in names)


@pytest.mark.parametrize(
    ("theirs", "value", "ours"),
    [
        ("clip-coef", 0.1, "here it is called clip_range"),
        ("eps", 1e-5, "here it is called adam_epsilon"),
        ("anneal_lr", True, 'called learning_rate_schedule; write "linear"'),
        ("lr_decay", False, 'called learning_rate_schedule; write "constant"'),
        ("lr_schedule", [[0, 1e-3], [100, 0]], 'rate_schedule; write "linear" or "constant"'),
        ("lr_schedule", "constant", 'called learning_rate_schedule; write "constant"'),
        ("clip_vloss", False, "value_clip_range: null, or the number of clip_range"),
        ("policy", "CnnPolicy", 'called network; write "nature"'),
        ("policy", "MlpPolicy", 'called network; write "mlp"'),
        ("vf_coef", 0.5, "twice the number of Stable-Baselines3 and tianshou"),
        ("vf_loss_coeff", 0.5, "twice the number"),
        ("lr", "lin_2.5e-4", 'learning_rate = 2.5e-4 with learning_rate_schedule = "linear"'),
        ("grad_clip", None, "max_grad_norm; 1e9 clips nothing"),
        ("device", "cpu", "no counterpart: TensorFlow chooses"),
        ("track", True, "wandb_project also copies it"),
        ("train_batch_size", 4000, "num_steps, train_batch_size / num_envs"),
    ],
)
def test_answer_fits_the_value(theirs, value, ours):
    assert ours in fault({theirs: value})


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("learning_rate", "lin_2.5e-4", "learning_rate = 2.5e-4 with learning_rate_schedule"),
        ("clip_range", "lin_0.1", 'clip_range = 0.1 with clip_range_schedule = "linear"'),
        ("network", "CnnPolicy", 'write "nature"'),
        ("learning_rate_schedule", "linear_decay", 'write "linear"'),
        ("max_grad_norm", None, "1e9 clips nothing"),
    ],
)
def test_value_of_another_package_is_answered_with_ours(key, value, part):
    refused = fault({key: value})
    assert refused.startswith(f"{key} = ") and "must be" in refused and part in refused


@pytest.mark.parametrize("value", ["0.001", "lin_x", "lin_nan", "cos_0.1"])
def test_word_that_is_not_a_linear_schedule_is_not_taken_for_one(value):
    assert "here it is" not in fault({"learning_rate": value})


CLEANRL = {"num_envs": 8, "num_steps": 128, "num_minibatches": 4}
ZOO = {"n_envs": 8, "n_steps": 128}
COMPUTED = f"here it is {other_names.COMPUTED}"


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({"batch_size": 1024, **CLEANRL}, COMPUTED),
        ({"minibatch_size": 256, **CLEANRL}, COMPUTED),
        ({"batch_size": 256, **CLEANRL}, COMPUTED),
        ({"batch_size": 1024, "num_minibatches": 4}, COMPUTED),
        ({"batch_size": 1024, "minibatch_size": 256, **ZOO}, COMPUTED),
        ({"batch_size": 0}, COMPUTED),
        ({"batch_size": 256, "num_batches_per_epoch": 4, "rollout": 128}, COMPUTED),
        ({"minibatch_size": 128, **CLEANRL}, "/ minibatch_size = 8"),
        ({"minibatch_size": 256, "batch_size": 1024}, "/ minibatch_size = 4"),
        ({"sgd_minibatch_size": 200, "train_batch_size": 4000}, "/ sgd_minibatch_size = 20"),
        ({"sgd_minibatch_size": 128, "train_batch_size": 4000}, "/ sgd_minibatch_size"),
        ({"batch_size": 256, **ZOO}, "num_envs x num_steps / batch_size = 4"),
        ({"batch_size": 1024, **ZOO}, "= 1; CleanRL's is the whole rollout: leave it out"),
        ({"batch_size": 100, **ZOO}, "num_envs x num_steps / batch_size"),
        ({"batch_size": 256}, "num_envs x num_steps / batch_size"),
        ({"train_batch_size": 4000, "num_envs": 8}, "num_steps, train_batch_size / num_envs = 500"),
    ],
)
def test_size_of_a_batch_is_turned_into_our_numbers(settings, answer):
    assert fault(settings).endswith(answer)


def test_a_batch_size_of_null_is_no_whole_rollout():
    assert "CleanRL" not in fault({"batch_size": None})


@pytest.mark.parametrize(
    ("key", "value"),
    [("zzzzqqqq", 1), ("gama", "half"), ("threadz", [2]), ("my_device", 1), ("num_thing", 3)],
)
def test_nothing_is_guessed_for_what_is_far_or_of_another_type(key, value):
    part = fault({key: value})
    assert "did you mean" not in part and "no known counterpart" in part
