"""Digests: the same bits have the same, and each part of an update changes its own and those that follow from it."""

import random
import struct
from dataclasses import replace
from hashlib import blake2b
from itertools import pairwise

import numpy as np
import pytest
import torch
from stable_baselines3 import PPO, SAC

from agents import make, vectorize
from rl_lab import DivergenceMonitor
from rl_lab.monitor.measure.digest import (
    Series,
    digest,
    of_buffered,
    of_generators,
    of_policy,
    of_rest,
    of_stretch,
)
from rl_lab.monitor.measure.parts import PARTS, PREFIX
from rl_lab.monitor.measure.rollout import Rollout
from rl_lab.monitor.measure.update import Update
from rl_lab.monitor.record.run_directory import read_run

NUMBERS = np.arange(12, dtype=np.float32).reshape(3, 4)


def test_it_is_blake2b_of_kind_shape_and_little_endian_bytes():
    """Recorded runs must stay comparable: whoever changes the form sees this red."""
    by_hand = blake2b(b"float32(2,):" + struct.pack("<2f", 1.5, -2.0), digest_size=8).hexdigest()
    assert digest(np.array([1.5, -2.0], np.float32)) == by_hand
    assert len(by_hand) == 16
    nested = blake2b(b"map(1):3:'a'list(2):1:14:None", digest_size=8).hexdigest()
    assert digest({"a": [1, None]}) == nested


@pytest.mark.parametrize(
    "same",
    [
        torch.from_numpy(NUMBERS.copy()),
        torch.from_numpy(NUMBERS.copy()).requires_grad_(),
        NUMBERS.astype(">f4"),
        np.asfortranarray(NUMBERS),
        np.repeat(NUMBERS, 2, axis=1)[:, ::2],
        torch.from_numpy(NUMBERS.T.copy()).T,
    ],
)
def test_the_same_numbers_have_the_same_digest_wherever_and_however_they_lie(same):
    assert digest(same) == digest(NUMBERS)


def flipped(array):
    """One bit of one number is another."""
    bits = array.copy().view(np.uint32)
    bits[1, 2] ^= 1
    return bits.view(np.float32)


@pytest.mark.parametrize(
    "other",
    [
        flipped(NUMBERS),
        np.where(NUMBERS == 0, np.float32(-0.0), NUMBERS),
        NUMBERS.astype(np.float64),
        NUMBERS.view(np.int32),
        NUMBERS.reshape(4, 3),
        NUMBERS[:2],
        [NUMBERS],
    ],
)
def test_everything_else_has_another_digest(other):
    assert digest(other) != digest(NUMBERS)


def test_what_lies_where_matters_and_the_order_of_names_does_not():
    assert digest([1, 2], [3]) != digest([1], [2, 3])
    assert digest([[1, 2], 3]) != digest([[1, [2, 3]]])
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})
    assert digest({"a": 1, "b": 2}) != digest({"a": 2, "b": 1})
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(1) != digest("1")
    assert digest(1) != digest(1.0)
    assert digest(np.zeros((0, 3))) != digest(np.zeros((0, 2)))


def test_kinds_that_numpy_does_not_know_and_objects_without_bytes():
    half = torch.tensor([1.0, 2.0], dtype=torch.bfloat16)
    assert digest(half) == digest(half.clone())
    assert digest(half) != digest(half.view(torch.int16))
    assert digest(object()) == digest(object()), "an address is no property of a run"
    with pytest.raises(TypeError, match="array of objects"):
        digest(np.array([object()]))


# The columns of an update.

N_STEPS, N_ENVS = 5, 2


def columns(update):
    return Series().columns(update)


def an_update():
    generator = np.random.default_rng(0)

    def numbers(*shape):
        return generator.normal(size=shape).astype(np.float32)

    size = N_STEPS * N_ENVS
    rollout = Rollout(
        torch.from_numpy(numbers(size, 3)), torch.from_numpy(numbers(size, 1)), N_STEPS,
        log_probs=numbers(size), rewards=numbers(size), values=numbers(size), returns=numbers(size),
        advantages=numbers(size), context={"action_masks": np.ones((size, 2))},
    )  # fmt: skip
    parameters = torch.from_numpy(numbers(7))
    return Update(
        rollout=rollout, old_parameters=parameters, new_parameters=parameters + 1, optimizer=parameters * 2,
        digests={"random": "0" * 16},
    )  # fmt: skip


def changed(part, row):
    """Digests that change when this part of the update does, in this row."""
    update = an_update()
    before = columns(update)
    if part in ("old_parameters", "new_parameters", "optimizer"):
        value = getattr(update, part).clone()
        value[row] += 1
        update = replace(update, **{part: value})
    elif part == "action_masks":
        update.rollout.context[part][row] = 0
    else:
        getattr(update.rollout, part)[row] += 1
    after = columns(update)
    assert list(after) == [PREFIX + name for name in PARTS]
    return [name for name in PARTS if after[PREFIX + name] != before[PREFIX + name]]


@pytest.mark.parametrize(
    ("part", "later", "first"),
    [
        ("observations", ["observations"], ["start", "observations"]),
        ("actions", ["actions"], ["answers", "actions"]),
        ("log_probs", ["values"], ["answers", "values"]),
        ("values", ["values"], ["answers", "values"]),
        ("rewards", ["rewards"], ["rewards"]),
        ("returns", ["returns"], ["returns"]),
        ("advantages", ["returns"], ["returns"]),
        ("action_masks", ["observations"], ["observations"]),
        ("old_parameters", ["before"], ["before"]),
        ("new_parameters", ["after"], ["after"]),
        ("optimizer", ["optimizer"], ["optimizer"]),
    ],
)
def test_a_part_changes_its_own_digest_alone(part, later, first):
    """Row 5 is the first step of environment 1, row 6 its second."""
    assert changed(part, 6) == later
    assert changed(part, 5) == first


def test_what_an_update_does_not_have_has_no_digest():
    assert set(columns(Update()).values()) == {None}
    some = an_update()
    unordered = columns(
        replace(some, rollout=replace(some.rollout, n_steps=None, values=None, log_probs=None))
    )
    missing = {name for name in PARTS if unordered[PREFIX + name] is None}
    assert missing == {"start", "answers", "values"}


# What is read off an algorithm.


def ppo(**more):
    return PPO(
        "MlpPolicy", "Pendulum-v1", n_steps=16, batch_size=16, n_epochs=2, seed=0, device="cpu", **more
    )


def test_every_update_begins_with_what_the_one_before_left(tmp_path):
    for name in "ab":
        ppo().learn(64, callback=DivergenceMonitor(tmp_path / name, wandb=False, random_return=0.0))
    rows, again = (read_run(tmp_path / name).updates for name in "ab")
    assert len(rows) == 4
    for row, following in pairwise(rows):
        assert row["digest_after"] == following["digest_before"]
        assert row["digest_before"] != row["digest_after"]
    for name in PARTS:
        values = [row[PREFIX + name] for row in rows]
        assert len(set(values)) == 4, f"{name} does not change from update to update"
        assert values == [row[PREFIX + name] for row in again]


def test_a_series_knows_again_what_the_last_update_left_and_nothing_else():
    one, series = an_update(), Series()
    two = replace(one, old_parameters=one.new_parameters.clone(), new_parameters=one.new_parameters + 1)
    three = replace(two, old_parameters=two.old_parameters + 1e-3)
    assert [series.columns(update) for update in (one, two, three)] == [columns(u) for u in (one, two, three)]
    assert columns(two)["digest_before"] == columns(one)["digest_after"]
    assert columns(three)["digest_before"] not in (
        columns(two)["digest_after"],
        columns(two)["digest_before"],
    )


def test_what_an_adapter_knows_better_is_taken():
    update = replace(an_update(), digests={"before": "b" * 16, "optimizer": "o" * 16, "after": None})
    found = columns(update)
    assert (found["digest_before"], found["digest_optimizer"]) == ("b" * 16, "o" * 16)
    assert found["digest_after"] == digest(update.new_parameters)


def test_buffers_count_as_parameters_do():
    model = ppo()
    assert of_buffered(model) is None, "its parameters are all of it"
    model.policy.register_buffer("statistics", torch.zeros(2))
    before = of_buffered(model)
    model.policy.statistics += 1
    assert of_policy(model) == of_buffered(model) != before


@pytest.mark.parametrize(
    "draw",
    [
        lambda model: torch.rand(1),
        lambda model: np.random.rand(),
        lambda model: random.random(),
        lambda model: model.minibatch_rng.rand(),
        lambda model: model.action_space.sample(),
    ],
)
def test_every_generator_that_training_draws_from_is_in_random(draw):
    model = make("ppo", vectorize("CartPole-v1", 1, 0, {}), 0, {"n_steps": 16})
    before = of_generators(model)
    assert of_generators(model) == before, "to look draws nothing"
    draw(model)
    assert of_generators(model) != before


def test_all_optimizers_the_entropy_coefficient_and_the_memory_of_a_rule_are_in_the_rest():
    model = SAC(
        "MlpPolicy", "Pendulum-v1", learning_starts=10, batch_size=8, policy_kwargs={"net_arch": [4]}, seed=0
    )
    model.learn(12)
    seen = {of_rest(model)}
    for optimizer in (model.actor.optimizer, model.critic.optimizer, model.ent_coef_optimizer):
        next(iter(optimizer.state.values()))["exp_avg"] += 1
        seen.add(of_rest(model))
    with torch.no_grad():
        model.log_ent_coef += 1
    seen.add(of_rest(model))
    model.memory = {"beta": torch.tensor(1.0)}
    seen.add(of_rest(model))
    model.actor.optimizer.param_groups[0]["lr"] *= 2
    seen.add(of_rest(model))
    assert len(seen) == 7


class Buffer:
    """A ring of 4 steps of 1 environment, into which 6 have been written."""

    pos, n_envs, buffer_size, full = 2, 1, 4, True
    observations = np.array([[[4.0]], [[5.0]], [[2.0]], [[3.0]]])
    actions, rewards = observations * 10, observations[..., 0] * 100

    def size(self):
        return 4


class Model:
    replay_buffer, n_envs = Buffer(), 1


def test_a_stretch_is_the_newest_steps_in_the_ring():
    found = of_stretch(Model(), 3)
    order = np.array([3.0, 4.0, 5.0])
    assert found == {
        "start": digest(order[:1].reshape(1, 1, 1)),
        "answers": digest(10 * order[:1].reshape(1, 1, 1)),
        "observations": digest(order.reshape(3, 1, 1)),
        "actions": digest(10 * order.reshape(3, 1, 1)),
        "rewards": digest(100 * order.reshape(3, 1)),
    }
    assert of_stretch(Model(), 99)["rewards"] == digest(np.array([[200.0], [300.0], [400.0], [500.0]]))
    assert of_stretch(Model(), 0) == {}


def test_observations_in_parts_are_taken_by_name():
    part = torch.arange(6.0).reshape(6, 1)
    rollout = Rollout({"b": part, "a": part + 1}, part, 3)
    swapped = Rollout({"a": part, "b": part + 1}, part, 3)
    one, other = columns(Update(rollout=rollout)), columns(Update(rollout=swapped))
    assert one["digest_observations"] != other["digest_observations"]
    assert one["digest_start"] == digest({"a": part[::3] + 1, "b": part[::3]})
