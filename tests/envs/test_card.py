"""The card: numbers that follow from the task, and keys that stay."""

import json
from dataclasses import dataclass
from math import exp, log

import pytest

import envs
from envs.card import GAMMAS, holder, versions
from envs.single import ChaosEnv

KEYS = {
    "id", "system", "kind", "state_dim", "action_dim", "goal", "dt", "reference", "source", "lyapunov_times",
    "description", "latex", "states", "angles", "parameters", "push", "control_interval", "steps", "reward",
    "reward_scale", "escape", "target", "observation", "growth_per_step", "smooth_below_gamma",
}  # fmt: skip


@pytest.fixture(scope="module")
def lorenz():
    return envs.card("chaos/Lorenz-v0")


def test_the_card_is_plain_json_and_keeps_its_keys(lorenz):
    assert set(lorenz) >= KEYS
    assert json.loads(json.dumps(lorenz)) == lorenz


def test_the_holder_exponent_is_the_discount_over_the_growth_and_never_above_one():
    """Lorenz at control interval 0.05 and gamma 0.99: 0.22 (facts of arXiv:2310.15418)."""
    assert holder(0.90581 * 0.05, 0.99) == pytest.approx(0.2219, abs=1e-4)
    assert holder(0.01, exp(-0.01)) == pytest.approx(1.0, abs=1e-12)
    assert holder(0.02, exp(-0.01)) == pytest.approx(0.5)
    assert holder(0.0, 0.99) == holder(-1.0, 0.999) == 1.0


def test_growth_and_discount_agree_with_each_other(lorenz):
    growth = lorenz["reference"]["exponents"][0] * lorenz["control_interval"]
    assert lorenz["growth_per_step"] == pytest.approx(growth)
    assert set(lorenz["holder"]) == {f"{gamma:g}" for gamma in GAMMAS}
    for gamma in GAMMAS:
        smooth = gamma <= lorenz["smooth_below_gamma"]
        assert (lorenz["holder"][f"{gamma:g}"] == 1.0) == smooth == (growth <= -log(gamma))
    assert lorenz["lyapunov_time"] * lorenz["reference"]["exponents"][0] == pytest.approx(1.0)


def test_the_interval_is_two_standard_errors_wide_on_each_side(lorenz):
    known = lorenz["reference"]
    for value, error, (low, high) in zip(known["exponents"], known["stderr"], known["interval"], strict=True):
        assert (low + high) / 2 == pytest.approx(value)
        assert (high - low) / 2 == pytest.approx(1.96 * error, rel=1e-4)


def test_the_extremes_of_the_reward_are_what_an_episode_can_pay(lorenz):
    """At the target nothing is lost; escaping in the first step costs as much as staying at the worst to the end."""
    assert lorenz["reward_best"] == 0.0
    assert lorenz["escape_reward"] == pytest.approx(lorenz["reward_worst"] * lorenz["steps"])
    env = ChaosEnv("chaos/Lorenz-v0")
    env.reset(seed=0, options={"state": lorenz["target"]})
    assert env.step([0.0])[1] == pytest.approx(0.0, abs=1e-12)
    lowest = 0.0
    for seed in range(20):
        env.reset(seed=seed)
        lowest = min(lowest, *(env.step([1.0])[1] for _ in range(50)))
    assert lorenz["reward_worst"] < lowest < 0


def test_other_parameters_have_other_exponents_or_none():
    unknown = envs.card("chaos/Lorenz-v0", rho=33.3)
    assert unknown["reference"] is unknown["holder"] is unknown["lyapunov_time"] is None
    assert unknown["other_references"], "those of the defaults are told"
    assert unknown["other_references"][0]["at"] == {}


def test_versions_are_told_from_the_first_on():
    @dataclass(frozen=True)
    class Changed(envs.systems()["Henon"]):
        version = 2
        versions = {1: "half the push", 2: "another horizon"}  # noqa: RUF012

    told = versions(Changed())
    assert told == [
        {"version": 0, "change": "initial version"},
        {"version": 1, "change": "half the push"},
        {"version": 2, "change": "another horizon"},
    ]


def test_a_task_of_the_literature_has_its_own_source():
    left = envs.card("chaos/LorenzLeftLobe-v0")
    assert "Beintema" in left["source"]
    assert left["remarks"]
    assert left["target"] is None
    assert (left["reward_best"], left["action_dim"]) == (1.0, 1)
