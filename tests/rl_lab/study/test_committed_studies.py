"""The studies under configs/ are runnable, and compare what they say they compare."""

from functools import cache
from pathlib import Path

import pytest

from rl_lab.study.checkout import room
from rl_lab.study.config import read_study
from rl_lab.study.supervisor import check_tasks
from rl_lab.study.yaml import read_mapping

CONFIGS = Path(__file__).parents[3] / "configs"
GUESTS = {"ppo-sb3", "a2c-sb3", "trpo-sb3", "ppo-lstm", "ppo-gru", "sac", "td3", "dqn"}


@cache
def read(name):
    path = CONFIGS / f"{name}.yaml"
    return read_study(read_mapping(path), name, str(path))


def rules():
    return set(room("agents").catalogue()) - GUESTS


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_every_study_resolves_and_its_agents_can_act_in_its_tasks(name):
    planned = read(name)
    check_tasks(planned, name)
    runs = planned.runs()
    assert len({run.run_id for run in runs}) == len(runs) == planned.size()["runs"]
    sizes = {run.agent.settings["n_envs"] * run.agent.settings["n_steps"] for run in runs}
    assert all(run.steps >= 10 * max(sizes) for run in runs), "ten updates at least"


@pytest.mark.parametrize("name", ["trust_regions", "learning"])
def test_every_rule_takes_part(name):
    found = {agent.name for agent in read(name).agents}
    assert found - GUESTS == rules()


def test_trust_regions_has_two_chaotic_tasks_and_ten_seeds():
    planned = read("trust_regions")
    assert sum(env.id.startswith("chaos/") for env in planned.envs) >= 2
    assert len(planned.envs) >= 4
    assert len(planned.seeds) == 10


def test_the_stock_and_ours_have_the_same_settings_where_both_have_one():
    planned = read("learning")
    by_id = {run.run_id: run.agent.settings for run in planned.runs() if run.seed == 0}
    for env in ("CartPole-v1", "Pendulum-v1", "chaos-Lorenz-v0"):
        ours, stock = by_id[f"{env}-ppo-s0"], by_id[f"{env}-ppo-sb3-s0"]
        assert {
            n for n in ours.keys() & stock.keys() if ours[n] != stock[n] and stock[n] is not None
        } == set()
        ours, stock = by_id[f"{env}-trpo-s0"], by_id[f"{env}-trpo-sb3-s0"]
        assert {
            n for n in ours.keys() & stock.keys() if ours[n] != stock[n] and stock[n] is not None
        } == set()
        for our_name, their_name in [
            ("n_epochs", "n_critic_updates"), ("max_kl", "target_kl"), ("cg_iterations", "cg_max_steps"),
            ("line_search_shrink", "line_search_shrinking_factor"),
            ("line_search_trials", "line_search_max_iter"),
        ]:  # fmt: skip
            assert ours[our_name] == stock[their_name], our_name


def test_the_factorial_is_complete_and_its_contrasts_are_those_of_the_paper():
    planned = read("clip_or_options")
    label = {agent.label: agent for agent in planned.agents}
    cells = {(agent.name, agent.settings["normalize_reward"]) for agent in label.values()}
    assert cells == {(rule, on) for rule in ("ppo", "ppo-noclip", "trpo") for on in (True, False)}
    assert planned.contrasts["AAI"] == (("ppo", "trpo-plus"), ("ppo-m", "trpo"))
    assert planned.contrasts["ACLI"] == (("ppo", "ppo-m"), ("trpo-plus", "trpo"))
    for one, other in planned.contrasts["AAI"]:  # the step alone differs ...
        assert label[one].settings["init"] == label[other].settings["init"]
    for one, other in planned.contrasts["ACLI"]:  # ... or the options alone
        assert label[one].name == label[other].name
    quiet, chaotic, classic = planned.envs
    assert (quiet.id, quiet.settings) == (chaotic.id, {"rho": 20})
    assert not classic.id.startswith("chaos/")
