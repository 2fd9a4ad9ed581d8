"""Settings of other packages, and their equivalents here.

The names are used by Stable-Baselines3 and its zoo, CleanRL, OpenAI's baselines, tianshou, RLlib,
Sample Factory, pytorch-a2c-ppo-acktr-gail and the environments. Hyphens count as underscores,
capitals as small letters.
"""

import math
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

Values = Mapping[str, Any]
Answer = Callable[[str, Values], str]


def _table(lines: str) -> dict[str, str]:
    """Return each answer with its foreign names, from lines ANSWER <- NAMES. An indented line
    continues the line above.
    """
    entries = re.split(r"\n(?=\S)", lines.strip())
    return dict(" ".join(entry.split()).split(" <- ") for entry in entries)


# Each setting, and its names elsewhere if they mean the same.
NAMES = _table("""
adam_beta_1 <- adam_beta1
adam_beta_2 <- adam_beta2
adam_epsilon <- adam_eps eps optimizer_eps
checkpoints_kept <- keep_checkpoints keep_checkpoints_num
clip_range <- clip_coef clip_eps clip_epsilon clip_param clip_ratio cliprange eps_clip
clip_rewards <- clip_reward reward_clipping
entropy_coef <- ent_coef entcoeff entropy_coeff entropy_weight exploration_loss_coeff
env_id <- env env_name environment game gym_id task
evaluation_games <- eval_episodes evaluation_duration n_eval_episodes test_num
  test_step_num_episodes
fire_on_reset <- use_fire_reset
frame_skip <- env_frameskip frameskip n_frames_skip
frame_stack <- env_framestack frames_stack framestack n_stack nstack num_stack stack_num
full_action_space <- full_action_set
gae_lambda <- lam lambda
learning_rate <- lr optim_stepsize
learning_rate_schedule <- anneal_lr lr_decay lr_schedule lr_scheduler use_linear_lr_decay
  use_linear_schedule
max_grad_norm <- grad_clip
network <- encoder_conv_architecture policy policy_type
noop_max <- noops noop_reset_max
normalize_advantages <- advantage_normalization norm_adv normalize_advantage
num_envs <- local_num_envs n_envs nenvs num_env num_processes num_training_envs training_num
num_epochs <- epochs k_epochs n_epochs noptepochs num_sgd_iter optim_epochs ppo_epoch ppo_epochs
  repeat_per_collect update_epochs update_step_num_repetitions
num_minibatches <- n_minibatches nminibatches num_batches_per_epoch num_mini_batch num_mini_batches
num_steps <- horizon n_steps nsteps rollout rollout_fragment_length rollout_length
  timesteps_per_actorbatch
screen_size <- dim img_height img_width
sticky_action_probability <- action_repeat_probability repeat_action_probability
stop_at_score <- episode_reward_mean reward_threshold stop_reward
terminal_on_life_loss <- episode_life episodic_life
threads <- num_threads
total_steps <- max_timesteps n_timesteps num_env_steps num_timesteps timesteps_total
  total_timesteps
value_clip_range <- cliprange_vf ppo_clip_value
value_coef <- value_loss_coef
workers <- world_size
""")

# Settings that are measured differently, or need several settings or an argument here: the answer,
# and the foreign names that get it.
DIFFERENT = _table("""
value_clip_range, a number or null; the larger of the clipped and the unclipped error counts <-
  clip_range_vf
max_frames_per_game, in frames: steps x frame_skip <- max_episode_steps
value_clip_range: null, or the number of clip_range <- clip_vloss use_clipped_value_loss value_clip
clip_range; the ratio is clipped at 1 - clip_range, not 1 / (1 + clip_range) <- ppo_clip_ratio
clip_rewards, true or false: true keeps only the sign of a reward <- reward_clip
learning_rate_schedule and clip_range_schedule <- schedule
learning_rate_kl; a KL above twice it cuts the rate <- lr_schedule_kl_threshold
value_coef, of half the squared error: twice the number of Stable-Baselines3 and tianshou, the
  number of CleanRL and baselines unchanged <- vf_coef
value_coef, of half the squared error: twice the number <- value_loss_coeff vf_loss_coeff
learning_rate, of policy and value alike <- actor_lr critic_lr
total_steps, in steps: frames / frame_skip <- total_frames num_frames train_for_env_steps
mlp_sizes, the units of each hidden layer of the network mlp, such as [64, 64] <- fcnet_hiddens
  hidden_size hidden_sizes net_arch
value_gradient, "shared" or "separate" <- vf_share_layers actor_critic_share_weights value_network
evaluation_interval, in steps <- eval_freq eval_interval evaluation_freq
checkpoint_interval, in steps <- checkpoint_frequency save_every_sec save_freq save_interval
video_interval, in steps; 0 makes no videos <- capture_video save_video_interval save_video
total_steps: the number of outer epochs x the steps of each <- epoch epoch_num_steps max_epochs
  step_per_epoch
num_envs: the number of env workers x the envs of each <- num_workers num_envs_per_worker
  num_env_runners num_rollout_workers num_envs_per_env_runner num_envs_per_rollout_worker
picture_scaling <- normalize_images obs_scale obs_subtract_mean scale scale_obs
an argument of the command, --logdir=DIR <- csv_folder_name exp_name experiment log_dir log_folder
  log_path logdir persistence_base_dir run_name save_dir save_path tb_log_name tensorboard_log
  train_dir
an argument of the command, --resume or --fork=RUN <- load_checkpoint_kind load_path
  restart_behavior restore resume resume_id resume_path trained_agent
an argument of the command, --evaluate or --watch <- eval_deterministic evaluate play render watch
""")

# What does not exist here: the reason, and the foreign names that get it.
ABSENT = _table("""
TensorFlow chooses the device; CUDA_VISIBLE_DEVICES=-1 in the environment hides the GPUs <-
  actor_worker_gpus cuda device device_id device_ids gpu no_cuda num_gpus num_gpus_per_env_runner
  num_gpus_per_learner num_gpus_per_worker use_gpu
the run writes TensorBoard files; wandb_project also copies it to Weights & Biases <- track wandb
  wandb_dir wandb_entity wandb_group wandb_job_type wandb_project_name wandb_tags wandb_user
  with_wandb logger logger_type logger_config
uploads are not supported yet; --report writes a model card <- hf_entity hf_repository push_to_hub
  upload_model
the same settings, seed and threads give the same weights without it <- cuda_deterministic
  torch_deterministic
the checkpoints are always saved <- export_native_model_files save_best_after save_best_every_sec
  save_best_metric save_buffer_name save_milestones_sec save_model save_replay_buffer
actions are discrete here <- action_bound_method action_scaling adaptive_stddev clip_actions
  continuous_tanh_scale initial_stddev normalize_actions sde_sample_freq use_sde
recurrent networks do not exist here <- cell_size lstm_cell_size max_seq_len recurrence
  recurrent_policy rnn_num_layers rnn_size rnn_type use_lstm use_rnn
network, a built-in one or MODULE:FUNCTION, gives the layers <- activation conv_activation
  conv_filters decoder_mlp_layers encoder_conv_mlp_layers encoder_mlp_layers fcnet_activation
  features_extractor_class features_extractor_kwargs head_fcnet_hiddens model model_config model_fn
  network_kwargs nonlinearity num_hidden num_layers ortho_init policy_init_gain
  policy_initialization policy_kwargs post_fcnet_hiddens
Adam is the only optimiser <- actor_optim alpha critic_optim optim optimizer optimizer_class
  optimizer_kwargs
observations, rewards and returns are not normalised by running statistics <- compress_observations
  norm_obs norm_reward normalize normalize_input normalize_input_keys normalize_kwargs
  normalize_returns observation_filter return_scaling rew_norm reward_normalization
rewards are not scaled; clip_rewards keeps only their sign <- reward_scale
there is no penalty on the KL divergence; target_kl ends the epochs of an update <- adaptive_kl
  kl_coeff kl_loss_coeff kl_target use_kl_loss
learning_rate_kl cuts the rate to at least a thousandth; learning_rate is the largest <-
  lr_adaptive_max lr_adaptive_min
the clip there bounds the squared error; value_clip_range bounds the value's change <-
  vf_clip_param
advantages are always estimated by GAE, once for each rollout <- max_batchsize recompute_adv
  recompute_advantage use_critic use_gae vtrace_c vtrace_rho with_vtrace
the loss is the clipped surrogate of the paper or one of the experiments in docs/params.md <-
  dual_clip exploration_loss
the value of the last observation always counts at a time limit <- use_proper_time_limits
  value_bootstrap
minibatches are always shuffled <- shuffle_batch_per_epoch shuffle_minibatches shuffle_sequences
PPO is the only algorithm <- alg algo exploration_config gail gail_batch_size gail_epoch
  gail_experts_dir icm_forward_loss_weight icm_lr_scale icm_reward_scale replay_buffer_kwargs
  rollout_buffer_class rollout_buffer_kwargs buffer_size train_freq
TensorFlow is the only framework <- framework backend eager_tracing
the terminal shows the progress <- log_level progress_bar verbose
scores are means over the last 100 games <- metrics_num_episodes_for_smoothing
  min_sample_timesteps_per_iteration stats_avg stats_window_size
num_steps is the length of every rollout; games may end within it <- batch_mode
all envs step together, and every rollout is of the newest policy <- async_rl batched_sampling
  max_policy_lag num_batches_to_accumulate num_policies policy_workers_per_policy serial_mode
  set_workers_cpu_affinity vec_env vec_env_class vec_env_kwargs worker_num_splits
a params file names an environment by its id; register one with the wrappers and arguments <-
  atari_wrapper env_config env_kwargs env_type env_wrapper eval_env_kwargs gamestate gym_packages
  monitor_kwargs vec_env_wrapper wrapper_kwargs
python -m ppo.sweep makes runs with other settings <- max_total_trials n_evaluations n_jobs
  n_startup_trials n_trials optimize_hyperparameters pruner sampler storage study_name with_pbt
the number of steps ends a run <- max_episodes max_iters max_seconds train_for_seconds
callbacks are functions: ppo.train.run(callback=...) in Python; stop_at_score ends a run <-
  callback callbacks callbacks_class
""")

# Names that other packages use for a setting's choices.
CHOICES = {
    "network": {
        "nature": "cnn cnnpolicy convnet_atari",
        "impala": "impala_cnn resnet_impala convnet_impala",
        "mlp": "mlppolicy",
    },
    "learning_rate_schedule": {
        "linear": "linear linear_decay true",
        "constant": "constant false none",
    },
}
SCHEDULED = {"learning_rate": "learning_rate_schedule", "clip_range": "clip_range_schedule"}
WHOLE_ROLLOUT = (
    *("collection_step_num_env_steps", "step_per_collect", "train_batch_size"),
    "train_batch_size_per_learner",
)
MINIBATCH = ("minibatch_size", "optim_batchsize", "sgd_minibatch_size")
COMPUTED = "computed from num_envs, num_steps and num_minibatches: leave it out"


def plain(name: str) -> str:
    """Return a name in small letters, with hyphens and spaces replaced by underscores."""
    return re.sub(r"[\s-]+", "_", name.strip().lower()).strip("_")


def hint(key: str, values: Values) -> str | None:
    """Say how a setting of another package is given here, or that there is no counterpart. None if
    it is unknown. ``values`` are all settings, from which numbers can be computed.
    """
    name, value = plain(key), values[key]
    if ours := _entry(NAMES, name):
        known = '; write "linear" or "constant"' * (ours == "learning_rate_schedule")
        return f"here it is called {ours}{value_hint(ours, value) or known}"
    if different := _entry(DIFFERENT, name):
        return f"here it is {different}"
    if name in COMPUTED_ANSWERS:
        return f"here it is {COMPUTED_ANSWERS[name](key, values)}"
    reason = _entry(ABSENT, name)
    return f"it has no counterpart: {reason}" if reason else None


def _entry(table: Mapping[str, str], name: str) -> str | None:
    """Return the key of a table whose names contain this name."""
    return next((key for key, names in table.items() if name in names.split()), None)


def value_hint(key: str, value: Any) -> str:
    """Say how another package's value for one of our settings is given here, or return nothing."""
    if key in SCHEDULED and isinstance(value, str):
        name, _, number = value.partition("_")
        with suppress(ValueError):
            if name in ("lin", "linear") and 0 < float(number) < math.inf:
                return f'; here it is {key} = {number} with {SCHEDULED[key]} = "linear"'
    if key == "max_grad_norm" and not value:
        return "; 1e9 clips nothing"
    choice = _entry(CHOICES.get(key, {}), plain(str(value)))
    return f'; write "{choice}"' if choice else ""


def _batch_size(key: str, values: Values) -> str:
    """Say how to give a batch size, which is a minibatch or, in CleanRL, the whole rollout."""
    size, parts, rollout = values[key], _given(values, "num_minibatches"), _rollout(values)
    is_minibatch = parts and type(size) is int and size * parts == rollout
    if parts and (rollout is None or size == rollout or is_minibatch):
        return COMPUTED
    if any(plain(name) in MINIBATCH for name in values):
        return COMPUTED
    hint = _minibatches(key, values)
    if rollout is None or size != rollout:
        return hint
    return f"{hint}; CleanRL's is the whole rollout: leave it out"


def _minibatches(key: str, values: Values) -> str:
    size, rollout = values[key], _rollout(values)
    if not size:  # CleanRL writes 0 until it has computed it
        return COMPUTED
    if rollout is None and plain(key) != "batch_size":
        sizes = (_given(values, name) for name in ("batch_size", *WHOLE_ROLLOUT))
        rollout = next(filter(None, sizes), None)
    formula = f"num_minibatches, num_envs x num_steps / {key}"
    if type(size) is not int or size < 1 or rollout is None or rollout % size:
        return formula
    count = rollout // size
    return COMPUTED if count == _given(values, "num_minibatches") else f"{formula} = {count}"


def _num_steps(key: str, values: Values) -> str:
    size, envs = values[key], _given(values, "num_envs")
    formula = f"num_steps, {key} / num_envs"
    whole = type(size) is int and envs and size % envs == 0
    return f"{formula} = {size // envs}" if whole and envs else formula


def _rollout(values: Values) -> int | None:
    envs, steps = _given(values, "num_envs"), _given(values, "num_steps")
    return envs * steps if envs and steps else None


def _given(values: Values, ours: str) -> int | None:
    """Return a whole number given under our name or another package's; None if there is none."""
    for key, value in values.items():
        name = plain(key)
        means_ours = name == ours or _entry(NAMES, name) == ours
        if means_ours and type(value) is int and value > 0:
            return value
    return None


COMPUTED_ANSWERS: dict[str, Answer] = {
    "batch_size": _batch_size,
    **dict.fromkeys(MINIBATCH, _minibatches),
    **dict.fromkeys(WHOLE_ROLLOUT, _num_steps),
    **dict.fromkeys(["local_batch_size", "local_minibatch_size"], lambda *_: COMPUTED),
    **dict.fromkeys(["num_iterations", "num_updates"], lambda *_: COMPUTED),
}
