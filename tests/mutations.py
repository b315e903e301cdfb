"""Mutations of the code that the tests catch: a suite is worth what it finds.

python tests/mutations.py [--only=NAME,...]

Each is made in a copy of the checkout, alone, and the tests that are to find it are run; a table says which were
caught. The exit code is 1 if one was not. First these tests must pass on the code as it stands.
"""

import argparse
import importlib.util
import multiprocessing
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
SECONDS = 900  # of a test at most: a loop that does not end is not caught
CAUGHT = 1  # the exit code of pytest where a test failed; others say that none ran
SLOW_IMPORTS = ["jax", "flax.linen", "optax", "orbax.checkpoint", "mujoco", "scipy.stats", "chex", "pytest", "rich"]


class Mutation(NamedTuple):
  """A fault, and the tests that find it."""

  name: str
  file: str
  old: str  # occurs once in the file
  new: str
  test: str  # file or node below tests/


LOSSES, TRAINING = "macaw_jax/losses", "macaw_jax/training"
RUNS, POPULATIONS = "experiments/test_runs.py", "experiments/test_populations.py"
STOPPED_TWICE = f"{RUNS}::test_a_run_that_is_stopped_twice_ends_bit_for_bit_as_one_that_is_not"
MEMBER_ALONE = f"{POPULATIONS}::test_a_member_of_a_population_is_the_run_alone"
WRONG_CONFIGURATION = "experiments/test_validation.py::test_each_line_names_what_is_wrong"

EVALUATION = "experiments/test_evaluate.py"
STUDY = "experiments/test_study.py"
REWARD_MODEL, RETRIEVAL_RUNS = "macaw_jax/data/reward_model.py", "experiments/test_retrieval_runs.py"

MUTATIONS = (
  Mutation(
    "test_tasks_give_their_episodes",
    "macaw_jax/data/relabel.py",
    "from_others(episodes_by_task, family, tasks_to_relabel(manifest, family, indices), count)",
    "from_others(episodes_by_task, family, tasks_to_relabel(manifest, family, range(len(indices))), count)",
    "data/test_relabel.py::test_episodes_of_the_other_training_tasks_come_behind_a_task_s_own",
  ),
  # Policies of known tasks
  Mutation(
    "sign_of_the_distilled_policy_in_the_reward",
    "macaw_jax/losses/task_policies.py",
    "jax.lax.stop_gradient(alpha * central_log_prob - log_prob) / beta",
    "jax.lax.stop_gradient(-alpha * central_log_prob - log_prob) / beta",
    "losses/test_task_policies_losses.py::test_the_regularised_reward_of_the_best_policy_is_its_value_in_expectation",
  ),
  Mutation(
    "logarithms_in_the_reward_trained",
    "macaw_jax/losses/task_policies.py",
    "jax.lax.stop_gradient(alpha * central_log_prob - log_prob) / beta",
    "(alpha * central_log_prob - log_prob) / beta",
    "losses/test_task_policies_losses.py::test_logarithms_in_the_reward_are_data",
  ),
  Mutation(
    "distilled_policy_trained_by_returns",
    "macaw_jax/algorithms/distral.py",
    "policy.distribution(jax.lax.stop_gradient(params[CENTRAL]), features)",
    "policy.distribution(params[CENTRAL], features)",
    "algorithms/test_task_policies.py::test_policies_of_tasks_leave_the_distilled_one_alone",
  ),
  Mutation(
    "other_task_s_policy_trained_by_the_penalty",
    "macaw_jax/algorithms/divide_and_conquer.py",
    "held = jax.lax.stop_gradient(moved)",
    "held = moved",
    "algorithms/test_task_policies.py::test_a_divergence_between_tasks_moves_each_policy_with_the_others_held",
  ),
  Mutation(
    "penalty_on_the_states_of_one_task",
    "macaw_jax/algorithms/divide_and_conquer.py",
    "return on(i), on(j)",
    "return on(i), on(i)",
    "algorithms/test_task_policies.py::test_a_divergence_between_tasks_moves_each_policy_with_the_others_held",
  ),
  Mutation(
    "task_by_its_place_in_the_batch",
    "macaw_jax/algorithms/task_policies.py",
    "return jnp.argmax(task_entries(observation[0, :, 0], num_tasks), axis=-1)",
    "return jnp.arange(num_tasks) + 0 * jnp.argmax(task_entries(observation[0, :, 0], num_tasks), axis=-1)",
    "algorithms/test_task_policies.py::test_an_update_knows_tasks_by_their_observations_in_whatever_order",
  ),
  Mutation(
    "unknown_task_acts_by_the_first_policy",
    "macaw_jax/algorithms/task_policies.py",
    "jnp.where(jnp.any(shown > 0), known, unknown)",
    "known",
    "algorithms/test_task_policies.py::test_a_task_has_its_policy_and_an_unknown_one_the_central_policy",
  ),
  Mutation(
    "restart_after_the_last_update",
    "macaw_jax/algorithms/task_policies.py",
    "(True if ppo.decay_steps is None else done < ppo.decay_steps)",
    "True",
    "algorithms/test_task_policies.py::test_every_so_many_updates_all_policies_become_the_central_one",
  ),
  Mutation(
    "optimiser_kept_over_a_restart",
    "macaw_jax/algorithms/task_policies.py",
    "begins=over)",
    "begins=over & False)",
    "algorithms/test_task_policies.py::test_an_optimiser_forgets_with_its_policy_also_after_an_update_that_was_skipped",
  ),
  # Agents with memory
  Mutation(
    "forgets_the_end_of_an_episode",
    "macaw_jax/adaptation/memory.py",
    "jnp.where(timestep.first > 0, kept, new)",
    "jnp.where(timestep.first > 0, jnp.zeros_like(kept), new)",
    "adaptation/test_memory.py::test_acting_reads_what_running_over_the_same_steps_reads",
  ),
  Mutation(
    "padding_enters_the_memory",
    "macaw_jax/networks/cells.py",
    "jnp.where(happened > 0, new, old)",
    "new",
    "networks/test_cells.py::test_a_run_is_its_steps_one_after_the_other_and_passes_over_what_did_not_happen",
  ),
  Mutation(
    "attends_to_what_there_is_not",
    "macaw_jax/networks/cells.py",
    "there = jnp.arange(self.window) >= self.window - seen",
    "there = jnp.arange(self.window) >= 0",
    "networks/test_cells.py::test_an_attention_cell_starts_with_nothing_to_attend_to",
  ),
  Mutation(
    "padding_discounts",
    "macaw_jax/objectives/ppo.py",
    "order = jnp.argsort(1.0 - steps.mask, stable=True)",
    "order = jnp.arange(len(steps.mask))",
    "objectives/test_ppo.py::test_steps_that_happened_come_first_in_their_order",
  ),
  Mutation(
    "entropy_of_a_weight_that_stays",
    "macaw_jax/objectives/ppo.py",
    "weight = entropy_weight * jnp.mean(trials.remaining)",
    "weight = entropy_weight",
    "objectives/test_ppo.py::test_the_weight_of_the_entropy_falls_with_what_is_left_of_training",
  ),
  Mutation(
    "belief_diverges_from_itself",
    "macaw_jax/objectives/beliefs.py",
    "[jnp.zeros_like(leaf[:1]), leaf[:-1]]",
    "[leaf[:1], leaf[:-1]]",
    "objectives/test_beliefs.py::test_the_divergence_is_that_of_beliefs_that_follow_each_other_the_first_from_the_prior",
  ),
  Mutation(
    "policy_trains_the_belief",
    "macaw_jax/algorithms/varibad.py",
    "lambda net, trials: trials.features)",
    "lambda net, trials: features(net, trials.steps))",
    "algorithms/test_memory_agents.py::test_the_policy_reads_the_beliefs_that_acted",
  ),
  Mutation(
    "query_goes_on_from_the_support",
    "macaw_jax/adaptation/memory.py",
    "last=tasks.support.last.at[:, -1].set(1.0)",
    "last=tasks.support.last",
    "algorithms/test_memory_agents.py::test_a_recorded_trial_is_a_support_that_ends_and_then_a_query",
  ),
  # Gradient surgery
  Mutation(
    "projects_where_gradients_agree",
    "macaw_jax/learners/gradient_surgery.py",
    "conflicting = (product < 0) & (other != task)",
    "conflicting = (product > 0) & (other != task)",
    "learners/test_gradient_surgery.py::test_coefficients_of_the_gram_matrix_are_the_direct_projections",
  ),
  Mutation(
    "tests_conflict_of_the_original_gradient",
    "macaw_jax/learners/gradient_surgery.py",
    "product = coefficients @ gram[:, other]",
    "product = gram[task, other]",
    "learners/test_gradient_surgery.py::test_coefficients_of_the_gram_matrix_are_the_direct_projections",
  ),
  Mutation(
    "one_order_for_all_tasks",
    "macaw_jax/learners/gradient_surgery.py",
    "jax.random.split(key, num_tasks), orders)",
    "jnp.stack([key] * num_tasks), orders)",
    "learners/test_gradient_surgery.py::test_each_task_has_a_random_order_of_its_own_and_all_orders_are_as_likely",
  ),
  Mutation(
    "temperature_of_another_task",
    "macaw_jax/actor_critics/tempered_soft_actor_critic.py",
    'params["log_temperature"][index]',
    'params["log_temperature"][0 * index]',
    "actor_critics/test_tempered_soft_actor_critic.py::test_a_temperature_learns_from_the_samples_of_its_task_alone",
  ),
  Mutation(
    "surgery_of_temperatures",
    "macaw_jax/algorithms/task_conditioned.py",
    "separable=tuple(name for name in agent.losses if name not in agent.own_gradients),",
    "separable=tuple(agent.losses),",
    "algorithms/test_multitask_actor_critics.py::test_gradient_surgery_reaches_the_shared_networks_and_never_a_temperature",
  ),
  Mutation(
    "observations_show_no_task",
    "macaw_jax/envs/variants.py",
    "jnp.asarray(numbers(task), observation.dtype)])",
    "0.0 * jnp.asarray(numbers(task), observation.dtype)])",
    "envs/test_variants.py::test_an_episode_is_the_same_with_its_task_beside_it",
  ),
  Mutation(
    "surgery_of_a_loss_that_compares_tasks",
    "macaw_jax/algorithms/contextual.py",
    "separable=tuple(name for name in agent.losses if name not in agent.own_gradients),",
    "separable=tuple(all_of('losses', encoder.losses, agent_losses)),",
    "algorithms/test_gradient_surgery_updates.py::test_an_update_of_focal_combines_each_loss_of_the_actor_critic_alone",
  ),
  # Losses
  Mutation(
    "sign_of_awr",
    f"{LOSSES}/advantage_weighting.py",
    "return -masked_mean(jax.lax.stop_gradient(weights) * log_prob, mask)",
    "return masked_mean(jax.lax.stop_gradient(weights) * log_prob, mask)",
    "losses/test_advantage_weighting.py::test_weighted_likelihood_by_hand_and_weights_are_held",
  ),
  Mutation(
    "sign_of_policy_gradient",
    "macaw_jax/objectives/episodes.py",
    "return -masked_mean(terms, episodes.mask), {}  #",
    "return masked_mean(terms, episodes.mask), {}  #",
    "algorithms/test_maml_rl.py::test_the_meta_gradient_is_that_of_the_closed_forms[log_prob]",
  ),
  Mutation(
    "sign_in_kl",
    f"{LOSSES}/embeddings.py",
    "jnp.square(mean) - 1.0 - jnp.log(variance)",
    "jnp.square(mean) - 1.0 + jnp.log(variance)",
    "losses/test_embeddings.py::test_kl_by_hand",
  ),
  Mutation(
    "sign_of_entropy",
    f"{LOSSES}/soft_actor_critic.py",
    "return jnp.min(values, axis=0) - temperature * log_prob",
    "return jnp.min(values, axis=0) + temperature * log_prob",
    "losses/test_soft_actor_critic.py::test_target_takes_the_smaller_critic_less_entropy_and_stops_at_terminals",
  ),
  Mutation(
    "side_of_expectile",
    f"{LOSSES}/values.py",
    "jnp.where(difference < 0, 1.0 - expectile, expectile)",
    "jnp.where(difference > 0, 1.0 - expectile, expectile)",
    "losses/test_implicit_q.py",
  ),
  Mutation(
    "discount_left_out",
    f"{LOSSES}/values.py",
    "reward + discount * (1.0 - terminal) * next_value",
    "reward + (1.0 - terminal) * next_value",
    "losses/test_values.py::test_one_step_target_bootstraps_except_at_ends_of_the_task_and_is_held_fixed",
  ),
  Mutation(
    "terminal_ignored",
    f"{LOSSES}/values.py",
    "reward + discount * (1.0 - terminal) * next_value",
    "reward + discount * next_value",
    "losses/test_values.py::test_one_step_target_bootstraps_except_at_ends_of_the_task_and_is_held_fixed",
  ),
  Mutation(
    "returns_across_episodes",
    f"{LOSSES}/values.py",
    "following_return = jnp.where(last > 0, next_value, following_return)",
    "following_return = following_return",
    "losses/test_values.py",
  ),
  Mutation(
    "advantages_not_standardised",
    f"{LOSSES}/advantage_weighting.py",
    "if normalise:",
    "if not normalise:",
    "losses/test_advantage_weighting.py::test_weights_by_hand",
  ),
  Mutation(
    "weights_not_clipped",
    f"{LOSSES}/advantage_weighting.py",
    "jnp.exp(jnp.minimum(advantage / temperature, jnp.log(max_weight)))",
    "jnp.exp(advantage / temperature)",
    "losses/test_advantage_weighting.py::test_only_large_weights_are_clipped",
  ),
  Mutation(
    "mean_over_tasks_for_episodes",
    f"{LOSSES}/policy_gradient.py",
    "jnp.mean(jnp.sum(_valid(log_prob, mask), axis=-1), axis=-1)",
    "jnp.mean(jnp.sum(_valid(log_prob, mask), axis=-1), axis=0)",
    "losses/test_policy_gradient_losses.py::test_sampling_credit_by_hand",
  ),
  Mutation(
    "mean_over_masked_rows",
    f"{LOSSES}/returns.py",
    "jnp.sum(jnp.where(mask > 0, values, 0.0)) / jnp.maximum(jnp.sum(mask), 1.0)",
    "jnp.mean(jnp.where(mask > 0, values, 0.0))",
    "losses/test_returns.py::test_masked_mean_is_over_valid_entries_and_zero_if_there_are_none",
  ),
  Mutation(
    "masked_factors_multiplied",
    "macaw_jax/networks/encoders.py",
    "precision = jnp.where(present, 1.0 / variance, 0.0)",
    "precision = 1.0 / variance",
    "networks/test_encoders.py::test_masked_rows_of_any_content_change_nothing",
  ),
  # Gradients that must not flow
  Mutation(
    "weights_trained_by_awr",
    f"{LOSSES}/advantage_weighting.py",
    "jax.lax.stop_gradient(weights) * log_prob",
    "weights * log_prob",
    "losses/test_advantage_weighting.py::test_weighted_likelihood_by_hand_and_weights_are_held",
  ),
  Mutation(
    "value_trained_by_advantages",
    "macaw_jax/objectives/policies.py",
    "return jax.lax.stop_gradient(target(params, batch) - value.apply(params[part], batch.observation))",
    "return target(params, batch) - value.apply(params[part], batch.observation)",
    "losses/test_advantage_weighting.py::test_advantages_and_targets_train_nothing",
  ),
  Mutation(
    "target_network_trained",
    "macaw_jax/actor_critics/implicit_q_learning.py",
    'return jax.lax.stop_gradient(jnp.min(critic.apply(params["target_critic"], inputs, batch.action), axis=0))',
    'return jnp.min(critic.apply(params["target_critic"], inputs, batch.action), axis=0)',
    "actor_critics/test_actor_critics.py::test_targets_and_weights_are_held_fixed_whatever_the_table_says",
  ),
  Mutation(
    "encoder_trained_by_another_loss",
    "macaw_jax/learners/context.py",
    "params if name in parts else jax.lax.stop_gradient(params)",
    "params",
    "algorithms/test_contextual.py::test_each_loss_trains_what_its_paper_says_and_nothing_else[focal]",
  ),
  # What follows the data
  Mutation(
    "bootstrapped_where_most_is_the_bootstrap",
    "macaw_jax/algorithms/by_data.py",
    "problem.discount**problem.horizon <= LARGEST_BOOTSTRAP",
    "problem.discount**problem.horizon > LARGEST_BOOTSTRAP",
    "algorithms/test_by_data.py::test_targets_bootstrap_where_little_of_a_return_is_the_bootstrap_and_tasks_are_many",
  ),
  Mutation(
    "choices_of_the_data_not_recorded",
    "experiments/build.py",
    "config.update_from_flattened_dict(chosen)",
    "config.update_from_flattened_dict({})",
    "experiments/test_recorded.py::test_an_own_dataset_of_any_name_gets_the_settings_of_its_properties",
  ),
  Mutation(
    "latents_decoded_in_known_tasks",
    "macaw_jax/evaluation/latents.py",
    "groups = indices if len(parameters) >= MANY_TASKS else np.arange(len(indices))",
    "groups = np.arange(len(indices))",
    "evaluation/test_latents.py::test_tasks_are_decoded_that_the_map_has_not_seen",
  ),
  Mutation(
    "divergence_in_units_of_no_scale",
    f"{TRAINING}/value_divergence.py",
    "float(metrics[name]) / square)",
    "float(metrics[name]))",
    "training/test_value_divergence.py::test_a_value_loss_above_a_hundred_mean_squares_of_the_returns",
  ),
  # Adaptation and learners
  Mutation(
    "support_and_query_swapped",
    "macaw_jax/learners/gradient.py",
    "(taps, tasks.support, tasks.query)",
    "(taps, tasks.query, tasks.support)",
    "learners/test_gradient.py::test_meta_loss_by_hand",
  ),
  Mutation(
    "actor_critic_on_support",
    "macaw_jax/learners/context.py",
    "return {LATENT: latents_of(net, tasks, key)}, tasks.query",
    "return {LATENT: latents_of(net, tasks, key)}, tasks.support",
    "learners/test_context.py::test_an_actor_critic_learns_on_the_query_by_the_latent_of_the_support",
  ),
  Mutation(
    "first_order_in_place_of_second",
    "macaw_jax/adaptation/gradient_step.py",
    "GradientDescent(first_order, ema_decay)",
    "GradientDescent(True, ema_decay)",
    "learners/test_gradient.py::test_meta_loss_by_hand",
  ),
  Mutation(
    "first_order_policy_gradients",
    "macaw_jax/adaptation/policy_gradient_step.py",
    "partial(stop_gradient_if, first_order)",
    "partial(stop_gradient_if, True)",
    "algorithms/test_maml_rl.py::test_the_meta_gradient_is_that_of_the_closed_forms[log_prob]",
  ),
  Mutation(
    "first_task_standardised_in_place_of_the_last",
    "macaw_jax/algorithms/norml.py",
    "jnp.arange(num_tasks) == num_tasks - 1",
    "jnp.arange(num_tasks) == 0",
    "algorithms/test_norml_parity.py::test_meta_gradients_match_the_released_code",
  ),
  Mutation(
    "inner_step_of_another_part",
    "macaw_jax/algorithms/macaw.py",
    'on="policy",',
    'on="value",',
    "algorithms/test_exchanged_losses.py::test_an_inner_loss_of_zero_leaves_its_part_as_it_is",
  ),
  Mutation(
    "earlier_changes_not_seen",
    "macaw_jax/adaptation/combinators.py",
    "adaptation.apply(net | changes, adaptation_rule",
    "adaptation.apply(net, adaptation_rule",
    "adaptation/test_adaptation.py::test_chain_equals_applying_by_hand_and_later_rules_see_earlier_changes",
  ),
  Mutation(
    "step_sizes_not_learned",
    "macaw_jax/adaptation/policy_gradient_step.py",
    "fixed = jnp.logical_not(learn_step_sizes)",
    "fixed = True",
    "algorithms/test_maml_rl.py::test_step_sizes_learn_only_where_they_are_told_to",
  ),
  Mutation(
    "array_step_sizes_not_learned",
    "macaw_jax/adaptation/gradient_step.py",
    "fixed = jnp.logical_not(learn_step_size)",
    "fixed = True",
    "adaptation/test_adaptation.py::test_step_sizes_get_a_meta_gradient_where_they_are_learned",
  ),
  Mutation(
    "rows_that_do_not_count_are_evidence",
    "macaw_jax/algorithms/bati.py",
    "jnp.sum(jnp.where(counts > 0, surprise(net, rows, latent), 0.0))",
    "jnp.sum(surprise(net, rows, latent))",
    "algorithms/test_bati.py::test_rows_that_do_not_count_are_no_evidence",
  ),
  Mutation(
    "search_from_the_worst_starts",
    "macaw_jax/adaptation/descend.py",
    "jax.lax.top_k(-jax.vmap(objective)(starts)",
    "jax.lax.top_k(jax.vmap(objective)(starts)",
    "adaptation/test_descend.py::test_it_descends_from_the_best_starts_and_takes_the_lowest_end",
  ),
  Mutation(
    "target_network_stands_still",
    "macaw_jax/learners/context.py",
    "optax.incremental_update(net[part], net[target], learner.tau)",
    "net[target]",
    "algorithms/test_contextual.py::test_target_networks_start_equal_and_follow_by_tau",
  ),
  Mutation(
    "target_network_moves_by_the_rest",
    "macaw_jax/learners/context.py",
    "optax.incremental_update(net[part], net[target], learner.tau)",
    "optax.incremental_update(net[target], net[part], learner.tau)",
    "algorithms/test_contextual.py::test_target_networks_start_equal_and_follow_by_tau",
  ),
  Mutation(
    "ema_of_adaptation_reversed",
    "macaw_jax/adaptation/descent.py",
    "self.ema_decay * trail.target_weights + (1.0 - self.ema_decay) * weights",
    "(1.0 - self.ema_decay) * trail.target_weights + self.ema_decay * weights",
    "adaptation/test_adaptation.py::test_target_network_by_hand",
  ),
  Mutation(
    "one_key_for_two_purposes",
    "macaw_jax/learners/context.py",
    "return UpdateKeys(*jax.random.split(key, len(UpdateKeys._fields)))",
    "return UpdateKeys(key, key, key)",
    "algorithms/test_contextual.py::test_no_key_of_an_update_serves_two_purposes[corro]",
  ),
  Mutation(
    "the_same_key_in_every_update",
    f"{TRAINING}/loop.py",
    "jax.random.split(jax.random.fold_in(key, step))",
    "jax.random.split(key)",
    "training/test_loop.py::test_steps_draw_different_keys",
  ),
  # Data
  Mutation(
    "task_index_not_passed",
    "macaw_jax/data/sampling.py",
    "TaskBatch(support=support, query=query, task_index=task_index)",
    "TaskBatch(support=support, query=query, task_index=jnp.arange(num_tasks))",
    "data/test_sampling.py::test_task_subsets_are_uniform",
  ),
  Mutation(
    "query_overlaps_support",
    "macaw_jax/data/sampling.py",
    "rows[:support_size], rows[support_size:]",
    "rows[:support_size], rows[:query_size]",
    "data/test_sampling.py::test_support_and_query_are_disjoint_and_real",
  ),
  Mutation(
    "relabelled_for_another_task",
    "macaw_jax/data/replay.py",
    "return read_rows(replay, source, rows, 0 if own_only else task)",
    "return read_rows(replay, source, rows, 0 if own_only else source)",
    "data/test_replay.py",
  ),
  Mutation(
    "episode_joined_to_the_next",
    "macaw_jax/data/dataset.py",
    "following[np.cumsum(episodes.episode_length, dtype=np.int64) - 1] = episodes.final_observation",
    "following[-1] = episodes.final_observation[-1]",
    "data/test_dataset.py::test_rows_by_hand",
  ),
  Mutation(
    "return_not_scaled",
    "macaw_jax/data/statistics.py",
    '"mc_return": record.mc_return / statistics.return_scale',
    '"mc_return": record.mc_return',
    "data/test_data_statistics.py::test_normalised_transitions_by_hand",
  ),
  # Bandits and mazes, and their known answers
  Mutation(
    "luck_of_a_bandit_in_the_precision_of_the_caller",
    "macaw_jax/envs/bandit.py",
    "jax.random.uniform(key, dtype=jnp.float32)",
    "jax.random.uniform(key)",
    "envs/test_bandit.py::test_the_reward_of_a_state_is_the_same_again_in_another_precision_too",
  ),
  Mutation(
    "every_pull_with_the_same_luck",
    "macaw_jax/envs/bandit.py",
    "jax.random.wrap_key_data(state.luck), jnp.sum(state.pulls))",
    "jax.random.wrap_key_data(state.luck), 0)",
    "envs/test_bandit.py::test_rewards_are_draws_with_the_probability_of_the_arm",
  ),
  Mutation(
    "wins_counted_at_the_wrong_arm",
    "macaw_jax/envs/bandit_policies.py",
    "counts.wins + timestep.reward * pulled",
    "counts.wins + timestep.reward",
    "envs/test_bandit_policies.py::test_an_acting_function_counts_what_it_is_told_and_draws_among_the_best",
  ),
  Mutation(
    "gittins_that_learns_nothing_from_a_win",
    "macaw_jax/envs/bandit_policies.py",
    "mean * (1.0 + discount * value[:, 1:])",
    "mean * (1.0 + discount * value[:, :-1])",
    "envs/test_bandit_policies.py::test_gittins_indices_are_those_of_another_calculation",
  ),
  Mutation(
    "walls_above_and_below_exchanged",
    "macaw_jax/envs/maze.py",
    "jnp.pad(down, ((1, 0), (0, 0))),  # to the cell above",
    "jnp.pad(down, ((0, 1), (0, 0))),  # to the cell above",
    "envs/test_maze.py::test_moves_and_walls_by_hand",
  ),
  Mutation(
    "search_that_ends_before_the_goal",
    "macaw_jax/envs/maze.py",
    "return SIZE**2 - behind.sum(axis=(1, 2))",
    "return SIZE**2 - 1 - behind.sum(axis=(1, 2))",
    "envs/test_maze.py::test_the_known_answers_that_the_page_quotes",
  ),
  Mutation(
    "regrets_of_other_tasks",
    "experiments/regret.py",
    "np.tile(np.asarray(leaf)[chosen], (num_episodes, 1))",
    "np.repeat(np.asarray(leaf)[chosen], num_episodes, axis=0)",
    "experiments/test_regret.py::test_episodes_stand_by_their_tasks",
  ),
  # Families of one's own, variants and environments of Gymnasium
  Mutation(
    "family_of_ones_own_not_checked",
    "macaw_jax/envs/lookup.py",
    "return with_state_of(check_family(family._replace(name=name, source=file), file))",
    "return with_state_of(family._replace(name=name, source=file))",
    "test_own_environment.py::test_a_mistake_is_said_as_the_page_says[an observation of another size]",
  ),
  Mutation(
    "time_to_go_counts_from_one_step_too_few",
    "macaw_jax/envs/family.py",
    "jnp.asarray(num_steps - t) / num_steps",
    "jnp.asarray(num_steps - 1 - t) / num_steps",
    "envs/test_variants.py::test_in_shorter_episodes_it_is_a_share_of_those",
  ),
  Mutation(
    "start_of_the_next_episode_for_the_last_observation",
    "macaw_jax/envs/gymnasium_environments.py",
    "if self._same_step:  # What",
    "if not self._same_step:  # What",
    "envs/test_gymnasium_family.py::test_a_vector_environment_of_its_own_kind_is_told_the_tasks_of_all",
  ),
  Mutation(
    "truncation_taken_for_an_end_of_the_task",
    "macaw_jax/envs/gymnasium_rollout.py",
    "step.observation, step.reward, step.terminated",
    "step.observation, step.reward, step.terminated | step.truncated",
    "envs/test_gymnasium_family.py::test_a_limit_of_the_environment_ends_an_episode_and_not_its_task",
  ),
  Mutation(
    "digest_of_manifest_not_verified",
    "macaw_jax/data/manifest.py",
    "if digest != expected:",
    "if not digest:",
    "data/test_manifest.py::test_a_digest_of_another_value_is_refused",
  ),
  Mutation(
    "digest_of_task_file_not_verified",
    "macaw_jax/data/dataset.py",
    "if found != entry.sha256:",
    "if not found:",
    "data/test_dataset.py::test_a_changed_file_does_not_match_its_hash",
  ),
  Mutation(
    "forbidden_global_unpickled",
    "macaw_jax/data/formats/unpickle.py",
    "    if (module, name) not in _GLOBALS:\n",
    "    if (module, name) not in _GLOBALS:\n      return super().find_class(module, name)\n",
    "data/formats/test_unpickle.py::test_nothing_else_is_read_and_nothing_executed",
  ),
  Mutation(
    "terminals_that_a_family_never_has_agree",
    "macaw_jax/data/agreement.py",
    'found, "contradicts" if count else "agrees")',
    'found, "agrees")',
    "data/test_agreement.py::test_a_terminal_at_every_time_limit",
  ),
  Mutation(
    "a_wrong_task_hides_among_right_ones",
    "macaw_jax/data/agreement.py",
    "if not means[worst] <= MOST_ERROR",
    "if not error.mean() <= MOST_ERROR",
    "data/test_agreement.py::test_one_wrong_task_is_found_among_right_ones",
  ),
  Mutation(
    "starts_at_one_point_agree",
    "macaw_jax/data/agreement.py",
    "ends.start.std(axis=0) < LEAST_SPREAD * own.std(axis=0)",
    "ends.start.std(axis=0) < 0.0 * own.std(axis=0)",
    "data/test_agreement.py::test_starts_at_one_point_where_the_family_starts_anywhere",
  ),
  Mutation(
    "relabelled_episodes_keep_the_rewards_of_one_task",
    "macaw_jax/data/relabel.py",
    "lambda leaf, task=task: np.asarray(leaf)[task]",
    "lambda leaf, task=task: np.asarray(leaf)[0]",
    "data/test_relabel.py::test_each_task_gets_episodes_of_the_others_with_its_own_rewards",
  ),
  # Imports
  Mutation(
    "ends_found_by_exact_comparison",
    "macaw_jax/data/formats/follows.py",
    "<= tolerance, axis=1)",
    "<= 0.0 * tolerance, axis=1)",
    "data/formats/test_boundaries.py::test_ends_are_found_up_to_rounding",
  ),
  Mutation(
    "bootstrapped_from_a_reset",
    "macaw_jax/data/formats/cuts.py",
    "dropped = false_next & ~table.terminal",
    "dropped = false_next & table.terminal",
    "data/formats/test_autoreset.py::test_the_next_observation_of_a_reset_by_hand",
  ),
  Mutation(
    "rows_of_resets_kept",
    "macaw_jax/data/formats/cuts.py",
    "kept = ~cuts.resets",
    "kept = np.ones_like(cuts.resets)",
    "data/formats/test_autoreset.py::test_a_row_of_a_reset_is_dropped_by_hand",
  ),
  Mutation(
    "episodes_of_one_step_believed",
    "macaw_jax/data/formats/credible.py",
    "if 2 * counts.of_one_step > counts.ends:",
    "if counts.of_one_step > counts.ends:",
    "data/formats/test_boundaries.py::test_rows_that_do_not_follow_one_another_are_refused",
  ),
  Mutation(
    "large_integers_rounded",
    "macaw_jax/data/formats/table.py",
    "      if too_large.any():\n",
    "      if too_large.all():\n",
    "data/formats/test_casts.py::test_whole_numbers_that_float32_cannot_hold_are_an_error",
  ),
  # Episodes
  Mutation(
    "actions_not_clipped",
    "macaw_jax/envs/rollout.py",
    "_Decision(adapted, state, drawn, jnp.clip(drawn, -1.0, 1.0))",
    "_Decision(adapted, state, drawn, drawn)",
    "envs/test_sampled_rollout.py::test_actions_are_stored_as_drawn_and_reach_physics_and_reward_clipped",
  ),
  Mutation(
    "actions_stored_clipped",
    "macaw_jax/envs/rollout.py",
    "(after, decision.drawn)",
    "(after, decision.action)",
    "envs/test_sampled_rollout.py::test_actions_are_stored_as_drawn_and_reach_physics_and_reward_clipped",
  ),
  Mutation(
    "steps_past_the_end_count",
    "macaw_jax/envs/rollout.py",
    "mask=runs.astype(action.dtype)",
    "mask=jnp.ones_like(runs, action.dtype)",
    "envs/test_rollout.py::test_an_episode_ends_where_the_task_says_and_stands_still",
  ),
  Mutation(
    "last_step_does_not_count",
    "macaw_jax/envs/rollout.py",
    "runs = jnp.cumsum(ended) - ended == 0",
    "runs = jnp.cumsum(ended) == 0",
    "envs/test_rollout.py::test_an_episode_ends_where_the_task_says_and_stands_still",
  ),
  Mutation(
    "observations_not_normalised_at_acting",
    "macaw_jax/collection/acting.py",
    "observation=normalise_observation(statistics, timestep.observation)",
    "observation=timestep.observation",
    "collection/test_acting.py",
  ),
  Mutation(
    "reward_shown_to_who_must_not_read_it",
    "macaw_jax/collection/on_policy.py",
    "episodes if algorithm.reads_reward else episodes._replace(reward=None)",
    "episodes",
    "evaluation/test_on_policy_protocol.py::test_a_stage_is_episodes_of_the_agent_adapted_to_the_sets_before_it",
  ),
  # Evaluation
  Mutation(
    "rows_past_the_end_are_evidence",
    "macaw_jax/evaluation/online.py",
    "mask=(jnp.arange(length) < dataset.size[:, None]).astype(jnp.float32)",
    "mask=(jnp.arange(length) >= 0 * dataset.size[:, None]).astype(jnp.float32)",
    "evaluation/test_online_protocol.py::"
    "test_an_episode_that_ends_early_fills_its_place_with_its_own_rows_that_do_not_count",
  ),
  Mutation(
    "stages_shifted",
    "macaw_jax/evaluation/online.py",
    "stages=tuple(range(num_episodes + 1))",
    "stages=tuple(range(1, num_episodes + 2))",
    "evaluation/test_rows.py::test_stages_begin_without_data_and_count_what_each_protocol_adapts_to",
  ),
  Mutation(
    "tasks_and_episodes_mixed",
    "macaw_jax/evaluation/protocols.py",
    ".reshape(num_tasks, -1)",
    ".reshape(-1, num_tasks).T",
    "evaluation/test_protocols.py",
  ),
  Mutation(
    "random_and_expert_swapped",
    "macaw_jax/evaluation/rows.py",
    "100.0 * np.subtract(returns, random_return)",
    "100.0 * np.subtract(expert_return, returns)",
    "evaluation/test_rows.py::test_normalised_score_by_hand",
  ),
  Mutation(
    "a_task_without_a_scale_is_scored",
    "macaw_jax/evaluation/rows.py",
    "scores=None if pair is None or pair[0] == pair[1] else",
    "scores=None if pair is None else",
    "evaluation/test_rows.py::test_a_task_whose_references_are_equal_has_none",
  ),
  Mutation(
    "different_scales_are_silent",
    "macaw_jax/evaluation/comparison.py",
    "if references != row.references:",
    "if references is None:",
    "evaluation/test_comparison.py::test_different_scales_are_said",
  ),
  Mutation(
    "training_tasks_compared",
    "macaw_jax/evaluation/comparison.py",
    "for row in run.test_rows if protocol in",
    "for row in run.rows if protocol in",
    "evaluation/test_comparison.py::test_one_line_a_configuration_over_seeds_and_test_tasks",
  ),
  Mutation(
    "tasks_resampled_for_seeds",
    "macaw_jax/evaluation/statistics.py",
    "for column in group.T)",
    "for column in group)",
    "evaluation/test_statistics.py::test_interval_of_equal_seeds_is_a_point",
  ),
  Mutation(
    "scores_above_the_target_make_up",
    "macaw_jax/evaluation/statistics.py",
    "np.maximum(target - scores, 0.0)",
    "target - scores",
    "evaluation/test_statistics.py::test_scores_above_the_target_make_up_for_nothing",
  ),
  Mutation(
    "ties_count_for_nobody",
    "macaw_jax/evaluation/statistics.py",
    "(x > y) + 0.5 * (x == y)",
    "1.0 * (x > y)",
    "evaluation/test_statistics.py::test_probability_of_improvement_is_that_of_the_rank_sum_test",
  ),
  # Studies, and learning that goes on
  Mutation(
    "thresholds_of_single_pairs",
    "macaw_jax/study/sequential_test.py",
    "np.max([np.abs(differences[pair][:, look])",
    "np.min([np.abs(differences[pair][:, look])",
    "study/test_sequential_test.py::test_errors_of_all_pairs_and_looks_together_are_as_rare_as_asked_for",
  ),
  Mutation(
    "cells_of_other_numbers_share_a_run",
    "experiments/study_cells.py",
    "json.dumps([shared, sorted(self.of_member.items())], default=list)",
    "json.dumps([shared], default=list)",
    f"{STUDY}::test_seeds_and_settings_that_are_added_are_all_that_is_trained",
  ),
  Mutation(
    "runs_of_another_process_are_trained",
    "experiments/study.py",
    "if mine and missing:",
    "if missing:",
    f"{STUDY}::test_a_population_that_another_process_is_at_is_left_to_it",
  ),
  Mutation(
    "own_episodes_over_the_support",
    "macaw_jax/evaluation/fine_tuning.py",
    "filled = np.full(len(task_index), support_size)",
    "filled = np.zeros(len(task_index), int)",
    "evaluation/test_fine_tuning.py::test_the_support_stays_among_the_rows",
  ),
  Mutation(
    "supports_of_the_whole_collection",
    "experiments/recorded.py",
    "quality=evaluation.quality,",
    'quality="end",',
    "experiments/test_recorded.py::test_supports_of_the_start_are_the_first_rows_of_the_collection",
  ),
  Mutation(
    "the_first_training_tasks",
    "experiments/recorded.py",
    "split._replace(train=evenly_spaced(split.train, wanted))",
    "split._replace(train=split.train[:wanted])",
    "experiments/test_recorded.py::test_some_of_the_training_tasks_are_evenly_spaced",
  ),
  Mutation(
    "training_from_scratch_is_trained",
    "macaw_jax/algorithms/single_task_awr.py",
    "optimizer=optax.set_to_zero()",
    "optimizer=optax.sgd(0.1)",
    "algorithms/test_single_task_awr.py::test_training_learns_nothing",
  ),
  Mutation(
    "old_results_accepted",
    "macaw_jax/evaluation/results.py",
    'if values.get("format_version") != FORMAT_VERSION:',
    'if values.get("format_version", FORMAT_VERSION) > FORMAT_VERSION:',
    "evaluation/test_results.py::test_a_wrong_field_is_named_with_its_file",
  ),
  Mutation(
    "nan_in_json",
    "macaw_jax/json_files.py",
    "if isinstance(value, float) and not math.isfinite(value):",
    "if isinstance(value, float) and math.isinf(value):",
    "evaluation/test_results.py::test_numbers_that_are_not_finite_come_back_as_nan",
  ),
  # Populations and updates that are skipped
  Mutation(
    "one_key_for_all_members",
    f"{TRAINING}/session.py",
    "stack([each.keys.train for each in session.members])",
    "stack([session.members[0].keys.train for each in session.members])",
    f"{MEMBER_ALONE}[recorded]",
  ),
  Mutation(
    "hyperparameter_of_another_member",
    f"{TRAINING}/population.py",
    "jnp.asarray([values[name] for values in hyperparameters])",
    "jnp.asarray([values[name] for values in reversed(hyperparameters)])",
    "training/test_population.py::test_a_member_equals_the_same_run_alone_whatever_it_differs_in[multitask_awr]",
  ),
  Mutation(
    "data_of_members_shared",
    f"{TRAINING}/session.py",
    "stack([new for new, _ in changed])",
    "stack([changed[0][0] for _ in changed])",
    f"{MEMBER_ALONE}[replayed]",
  ),
  Mutation(
    "evaluated_by_statistics_of_another_member",
    f"{TRAINING}/session.py",
    "statistics, key = statistics_of(session, moment, index)",
    "statistics, key = statistics_of(session, moment, 0)",
    f"{MEMBER_ALONE}[replayed]",
  ),
  Mutation(
    "saved_statistics_of_another_member",
    f"{TRAINING}/session.py",
    "[statistics_of(session, moment, index) for index in range(count)]",
    "[statistics_of(session, moment, 0) for index in range(count)]",
    f"{MEMBER_ALONE}[replayed]",
  ),
  Mutation(
    "skipped_update_applied",
    f"{TRAINING}/population.py",
    "state = choose(kept, updated, state)",
    "state = choose(runs, updated, state)",
    "training/test_population.py::test_a_member_that_diverges_is_as_it_came_and_harms_nobody",
  ),
  Mutation(
    "skips_not_reset",
    f"{TRAINING}/non_finite.py",
    "reset = skips._replace(in_a_row=jnp.zeros_like(skips.in_a_row))",
    "reset = skips",
    "training/test_non_finite.py::test_skips_count_in_a_row_only_while_no_update_is_applied",
  ),
  # Checkpoints and runs that are continued
  Mutation(
    "resumed_one_update_early",
    f"{TRAINING}/session.py",
    "[checkpoint.state for checkpoint in checkpoints]",
    "[checkpoint.state._replace(step=checkpoint.state.step - (step > 0)) for checkpoint in checkpoints]",
    f"{STOPPED_TWICE}[recorded]",
  ),
  Mutation(
    "refreshed_once_more_after_resuming",
    f"{TRAINING}/session.py",
    "  have_stopped = np.zeros(len(session.members), bool)",
    "  have_stopped = np.zeros(len(session.members), bool)\n"
    "  moment = moment._replace(data=refresh(session, moment)[0]) if step else moment",
    f"{STOPPED_TWICE}[replayed]",
  ),
  Mutation(
    "data_not_saved",
    f"{TRAINING}/session.py",
    "[member(moment.data, index) if session.own_data else None for index in range(count)]",
    "[None for index in range(count)]",
    f"{STOPPED_TWICE}[replayed]",
  ),
  Mutation(
    "best_is_the_lowest_score",
    f"{TRAINING}/checkpoints.py",
    "return max(scored)[1] if scored else None",
    "return min(scored)[1] if scored else None",
    "training/test_checkpoints.py::test_the_newest_and_the_best_are_kept",
  ),
  Mutation(
    "one_checkpoint_too_few",
    f"{TRAINING}/checkpoints.py",
    "[-keep:]",
    "[-keep:][1:]",
    "training/test_checkpoints.py::test_the_newest_and_the_best_are_kept",
  ),
  Mutation(
    "digest_of_checkpoint_file_not_compared",
    f"{TRAINING}/checkpoint_record.py",
    "if record.sha256 != files[name].sha256:",
    "if not record.sha256:",
    "training/test_checkpoint_damage.py",
  ),
  Mutation(
    "identity_not_compared",
    f"{TRAINING}/checkpoints.py",
    "if note.identity.get(name) != digest]",
    "if name not in note.identity]",
    "training/test_checkpoints.py::test_the_checkpoint_of_another_run_is_refused",
  ),
  Mutation(
    "lock_not_taken",
    f"{TRAINING}/run_directory.py",
    "filelock.FileLock(directory / LOCK).acquire(timeout=0)",
    "ExitStack()",
    f"{RUNS}::test_a_directory_in_use_is_refused[on_policy]",
  ),
  Mutation(
    "free_settings_compared",
    f"{TRAINING}/run_directory.py",
    "if name not in may_change and before.get(name) != now.get(name)",
    "if before.get(name) != now.get(name)",
    f"{RUNS}::test_a_longer_run_continues[on_policy]",
  ),
  Mutation(
    "settings_not_compared",
    f"{TRAINING}/run_directory.py",
    "if name not in may_change and before.get(name) != now.get(name)",
    "if name in may_change and before.get(name) != now.get(name)",
    f"{RUNS}::test_other_settings_are_refused_with_every_difference_unless_they_are_accepted[on_policy]",
  ),
  Mutation(
    "changed_code_ignored",
    f"{TRAINING}/run_directory.py",
    "differences += code_differences(read_json(directory / CODE, dict), code)",
    "pass",
    f"{RUNS}::test_changed_code_is_refused_with_the_difference_unless_it_is_accepted[on_policy]",
  ),
  Mutation(
    "old_runs_accepted",
    f"{TRAINING}/run_directory.py",
    "if version != FORMAT_VERSION:",
    "if version > FORMAT_VERSION:",
    f"{RUNS}::test_a_run_in_an_earlier_format_is_refused_in_one_line[on_policy]",
  ),
  # Retrieval
  Mutation(
    "rows_that_a_task_has_never_been_near_are_evidence",
    REWARD_MODEL,
    "known = jnp.log(covered + 1e-12)",
    "known = jnp.log(jnp.ones_like(covered))",
    "data/test_reward_model.py::test_rows_are_no_evidence_where_a_task_has_none",
  ),
  Mutation(
    "weights_left_out_of_a_posterior",
    REWARD_MODEL,
    "precision = (weight[:, None] * jnp.exp(known - likelihood))",
    "precision = (mask[:, None] * jnp.exp(known - likelihood))",
    "data/test_reward_model.py::test_the_posterior_is_that_of_gaussians_conditioned_in_row_space",
  ),
  Mutation(
    "masked_rows_are_alike",
    REWARD_MODEL,
    "jnp.exp(-0.5 * distance / LENGTH**2) @ mask / EVIDENCE",
    "jnp.exp(-0.5 * distance / LENGTH**2) @ jnp.ones_like(mask) / EVIDENCE",
    "data/test_reward_model.py::test_the_posterior_is_that_of_gaussians_conditioned_in_row_space",
  ),
  Mutation(
    "tasks_not_pulled_to_their_mean",
    REWARD_MODEL,
    'pulled = moment / shared[:, None] + np.einsum("dfg,dg->df", inverse, mean)',
    "pulled = moment / shared[:, None]",
    "data/test_reward_model.py::test_what_a_task_does_not_show_follows_from_the_others",
  ),
  Mutation(
    "rounding_may_make_a_posterior_indefinite",
    REWARD_MODEL,
    "matrix + rounding[..., None, None] * identity",
    "matrix",
    "data/test_reward_model.py::test_posterior_and_proportions_are_finite",
  ),
  Mutation(
    "noise_of_a_support_not_looked_for",
    REWARD_MODEL,
    "more = noises[jnp.argmax(evidence - UNLIKELY * jnp.arange(len(noises)))]",
    "more = noises[0]",
    "data/test_reward_model.py::test_the_posterior_is_that_of_gaussians_conditioned_in_row_space",
  ),
  Mutation(
    "badly_paid_support_kept",
    "macaw_jax/data/retrieval.py",
    "is_kept=is_unexplained & ~is_constant & _is_well_paid(reference, shares, support.reward, mask),",
    "is_kept=is_unexplained & ~is_constant,",
    "data/test_retrieval.py::test_the_support_of_a_task_that_no_mixture_explains_is_kept_if_it_is_as_well_paid",
  ),
  Mutation(
    "constant_rewards_taken_for_evidence",
    "macaw_jax/data/retrieval.py",
    "is_silent=is_unexplained & is_constant,",
    "is_silent=is_unexplained & ~is_unexplained,",
    "data/test_retrieval.py::test_rewards_that_are_all_the_same_leave_the_agent_at_its_prior",
  ),
  Mutation(
    "returns_of_changed_rewards_over_episode_ends",
    "macaw_jax/evaluation/changed_rewards.py",
    "np.diff(ends, prepend=-1)",
    "np.array([size])",
    "evaluation/test_changed_rewards.py::test_it_is_the_dataset_that_had_these_rewards",
  ),
  Mutation(
    "adapts_to_the_support_that_is_given",
    "macaw_jax/adaptation/retrieval.py",
    "algorithm.adapt(params, retrieve(params.net[REFERENCE], support, key_rows), key_adapt)",
    "algorithm.adapt(params, support, key_adapt)",
    "adaptation/test_retrieving.py::test_it_adapts_to_retrieved_rows_as_the_plain_algorithm_to_these",
  ),
  Mutation(
    "retrieval_left_out_of_an_evaluation",
    "experiments/evaluation_request.py",
    '"retrieval": retrieval_numbers(config),',
    '"retrieval": None,',
    f"{RETRIEVAL_RUNS}::test_retrieval_changes_nothing_but_what_is_adapted_to",
  ),
  Mutation(
    "retrieved_rows_do_not_grow_with_steps",
    "experiments/evaluation_request.py",
    ', "retrieval.rows": config.retrieval.rows}',
    "}",
    f"{RETRIEVAL_RUNS}::test_retrieved_rows_grow_with_the_number_of_steps_that_share_them",
  ),
  Mutation(
    "shares_of_retrieved_rows_not_checked",
    "experiments/recorded.py",
    "if config.retrieval.rows % algorithm.support_parts:",
    "if config.retrieval.rows < algorithm.support_parts:",
    f"{WRONG_CONFIGURATION}[retrieved rows that inner steps cannot share]",
  ),
  Mutation(
    "other_policies_of_the_end_at_every_moment",
    "macaw_jax/collection/collect.py",
    "        learned[name],\n",
    "        params,\n",
    "collection/test_collect.py::test_other_policies_are_those_of_the_agent_at_three_moments",
  ),
  # Configurations
  Mutation(
    "parts_of_support_not_checked",
    "experiments/recorded.py",
    "if size % parts:",
    "if size % parts and section == 'evaluation':",
    "experiments/test_validation.py",
  ),
  Mutation(
    "consecutive_rows_not_checked",
    "experiments/recorded.py",
    'orders != ("contiguous", "contiguous")',
    'orders == ("contiguous", "contiguous")',
    f"{WRONG_CONFIGURATION}[TD(lambda) on shuffled rows]",
  ),
  Mutation(
    "unknown_field_accepted",
    "experiments/configuration.py",
    "if name in fields or name in faults or section in fields",
    "if name or name in faults or section in fields",
    f"{WRONG_CONFIGURATION}[fields that are unknown]",
  ),
  Mutation(
    "one_problem_of_several",
    "experiments/validation.py",
    "raise ConfigurationError(*dict.fromkeys(problems))",
    "raise ConfigurationError(problems[0])",
    f"{WRONG_CONFIGURATION}[several that are no multiple]",
  ),
  Mutation(
    "seeds_from_zero",
    "experiments/variants.py",
    "range(config.seed, config.seed + config.population.seeds)",
    "range(config.population.seeds)",
    f"{POPULATIONS}::test_members_are_written_where_they_would_be_alone",
  ),
  # The order of imports
  Mutation(
    "import_upwards",
    f"{LOSSES}/returns.py",
    "from macaw_jax.types import Array, Trajectory\n",
    "from macaw_jax.networks.mlp import MLP\nfrom macaw_jax.types import Array, Trajectory\n",
    "test_layers.py::test_imports_point_downwards",
  ),
  # Commands
  Mutation(
    "engine_left_out_of_an_evaluation",
    "experiments/evaluation_request.py",
    '"engine": config.rollouts.engine if "rollouts" in config else config.evaluation.engine,',
    '"engine": "native",',
    f"{EVALUATION}::test_no_evaluation_replaces_another",
  ),
  Mutation(
    "evaluation_of_other_data_replaced",
    "macaw_jax/evaluation/evaluation_file.py",
    "if not path.exists() or is_made_of(path, made_of):",
    "if number == 1:",
    f"{EVALUATION}::test_a_name_that_another_evaluation_has_is_numbered",
  ),
  Mutation(
    "last_of_two_fields_taken",
    "experiments/config_file.py",
    "problems = _given_twice(overrides)",
    "problems: list[str] = []",
    "experiments/test_command_line.py::test_a_field_and_a_configuration_that_are_there_twice_are_said_with_all_else",
  ),
  Mutation(
    "steps_beyond_training_not_said",
    "experiments/evaluate.py",
    "if number > planned.trained_steps]",
    "if number < planned.trained_steps]",
    f"{EVALUATION}::test_more_steps_than_trained_are_said_and_that_the_score_falls",
  ),
  # Steps of an update, and where policies start
  Mutation(
    "parts_read_as_stepped",
    "macaw_jax/learners/context.py",
    "read = net | {part: before[part] for part in step.before}",
    "read = net",
    "learners/test_context.py::test_steps_come_in_their_order_and_read_parts_as_they_say",
  ),
  Mutation(
    "moments_of_other_steps_decay",
    "macaw_jax/learners/context.py",
    "(moved if part in stepped else opt_state).inner_states[part]",
    "moved.inner_states[part]",
    "learners/test_context.py::test_an_optimiser_counts_its_own_steps_alone",
  ),
  Mutation(
    "policies_start_narrow",
    "macaw_jax/networks/latent.py",
    "CUT_LOG_STD = hard_bounds(-5.0, 2.0)",
    "CUT_LOG_STD: BoundLogStd = lambda raw: -1.5 + 3.5 * jnp.tanh(raw)",
    "networks/test_latent.py::test_policies_start_near_a_standard_deviation_of_one",
  ),
)


def faults_of(mutation: Mutation, root: Path) -> list[str]:
  """Why a mutation cannot be made in a checkout, or its tests not be found; none where it fits."""
  count = (root / mutation.file).read_text().count(mutation.old)
  file, *nodes = mutation.test.split("::", 1)
  test = root / "tests" / file
  found = [] if count == 1 else [f"{mutation.name}: its text occurs {count} times in {mutation.file}"]
  if not test.is_file() or any(f"def {node.partition('[')[0]}(" not in test.read_text() for node in nodes):
    found.append(f"{mutation.name}: there is no test {mutation.test}")
  return found


def copy_checkout(target: Path) -> None:
  """The files of the working tree that git knows."""
  listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
  for name in filter(None, listed.split("\0")):
    if (ROOT / name).is_file():
      (target / name).parent.mkdir(parents=True, exist_ok=True)
      shutil.copy2(ROOT / name, target / name)


def run_tests(copy: Path, tests: Sequence[str]) -> tuple[int | None, float, str]:
  """The exit code of pytest in a process of its own, None after `SECONDS`; processor time in seconds; what it said."""
  receiver, sender = multiprocessing.Pipe(duplex=False)
  log = copy.parent / "said"
  process = multiprocessing.get_context("forkserver").Process(target=_test, args=(sender, copy, log, tests))
  process.start()
  sender.close()
  code, seconds = None, 0.0
  try:
    if receiver.poll(SECONDS):
      code, seconds = receiver.recv()
  except EOFError:  # It has died.
    code = -1
  process.kill()
  process.join()
  return code, seconds, log.read_text(errors="replace")


def _test(sender, copy: Path, log: Path, tests: Sequence[str]) -> None:
  """In the new process: the copy is what Python imports, and nothing of it was imported before."""
  descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
  os.dup2(descriptor, 1)
  os.dup2(descriptor, 2)
  os.chdir(copy)
  sys.dont_write_bytecode = True  # The times of files are no sign that they are the same: mutations are quick.
  sys.path[:] = [str(copy), *(path for path in sys.path if not Path(path).is_relative_to(ROOT) or ".venv" in path)]
  os.environ.update(PYTHONPATH=str(copy), PYTHONDONTWRITEBYTECODE="1", COLUMNS="300")
  import pytest

  for package in ("macaw_jax", "experiments"):
    found = getattr(importlib.util.find_spec(package), "origin", None) or "not found"
    assert Path(found).is_relative_to(copy), f"{package} is not that of the copy: {found}"
  code = pytest.main(["-x", "-q", "-p", "no:cacheprovider", *(f"tests/{test}" for test in tests)])
  used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
  sender.send((int(code), sum(each.ru_utime + each.ru_stime for each in used)))


def main(arguments: Sequence[str] | None = None) -> int:
  """Makes the mutations one by one, and prints the table."""
  parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
  parser.add_argument("--only", help="names of mutations, separated by commas", default="")
  names = list(filter(None, parser.parse_args(arguments).only.split(",")))
  if unknown := set(names) - {each.name for each in MUTATIONS}:
    parser.error(f"no mutation is called {', '.join(sorted(unknown))}")
  chosen = [each for each in MUTATIONS if not names or each.name in names]
  if faults := [fault for each in chosen for fault in faults_of(each, ROOT)]:
    print(*faults, sep="\n")
    return 1

  import conftest  # noqa: F401 (where compiled programs are kept, before JAX is imported)

  multiprocessing.get_context("forkserver").set_forkserver_preload(SLOW_IMPORTS)
  with tempfile.TemporaryDirectory() as folder:
    copy = Path(folder).resolve() / "checkout"
    copy_checkout(copy)
    code, seconds, said = run_tests(copy, list(dict.fromkeys(each.test for each in chosen)))
    if code:
      print(said, f"the code as it stands does not pass the tests (exit code {code})", sep="\n")
      return 1
    print(f"the code as it stands passes in {seconds:.0f} s of processor time", flush=True)
    print("| mutation | file | | seconds | first failure |\n|---|---|---|---|---|", flush=True)
    survivors = [each for each in chosen if not _is_caught(each, copy)]
  print(f"{len(chosen) - len(survivors)} of {len(chosen)} mutations caught")
  return 1 if survivors else 0


def _is_caught(mutation: Mutation, copy: Path) -> bool:
  """Makes a mutation, runs its tests, takes it back, and prints its line."""
  file = copy / mutation.file
  text = file.read_text()
  file.write_text(text.replace(mutation.old, mutation.new))
  code, seconds, said = run_tests(copy, [mutation.test])
  file.write_text(text)
  verdict = {CAUGHT: "caught", 0: "SURVIVED", None: "TIMED OUT"}.get(code, f"BROKEN, exit code {code}")
  failures = [line.partition(" - ")[2] for line in said.splitlines() if line.startswith("FAILED")]
  failure = " ".join(failures)[:60].replace("|", " ").strip()
  print(f"| {mutation.name} | {mutation.file} | {verdict} | {seconds:.1f} | {failure} |", flush=True)
  if code not in (CAUGHT, 0):
    print(said[-2000:], flush=True)
  return code == CAUGHT


if __name__ == "__main__":
  sys.exit(main())
