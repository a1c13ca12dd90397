"""The studies under configs/ are runnable, and compare what they say they compare."""

from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch

from agents.stock import STOCK
from rl_lab.study.checkout import room
from rl_lab.study.config import read_study
from rl_lab.study.supervisor import check_tasks
from rl_lab.study.tasks import make_agent
from rl_lab.study.yaml import read_mapping

CONFIGS = Path(__file__).parents[3] / "configs"


@cache
def read(name):
    path = CONFIGS / f"{name}.yaml"
    return read_study(read_mapping(path), name, str(path))


def rules():
    return set(room("agents").catalogue()) - STOCK.keys()


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_every_study_resolves_and_its_agents_can_act_in_its_tasks(name):
    planned = read(name)
    check_tasks(planned, name)
    runs = planned.runs()
    assert len({run.run_id for run in runs}) == len(runs) == planned.size()["runs"]
    sizes = {run.agent.settings["n_envs"] * run.agent.settings["n_steps"] for run in runs}
    assert all(run.steps >= 10 * max(sizes) for run in runs), "ten updates at least"


@pytest.mark.parametrize("name", ["every_rule", "learning"])
def test_every_rule_takes_part(name):
    found = {agent.name for agent in read(name).agents}
    assert found - STOCK.keys() == rules()


@pytest.mark.parametrize("name", ["trust_regions", "every_rule"])
def test_a_study_of_bounds_has_two_chaotic_tasks_and_ten_seeds(name):
    planned = read(name)
    assert len({agent.name for agent in planned.agents}) >= 5
    assert sum(env.id.startswith("chaos/") for env in planned.envs) >= 2
    assert len(planned.envs) >= 4
    assert len(planned.seeds) == 10


def test_every_rule_has_the_numbers_of_updates_that_it_says():
    runs = read("every_rule").runs()
    updates = Counter(
        (run.agent.name if run.agent.name in ("vpg", "a2c") else "others",
         run.steps / (run.agent.settings["n_envs"] * run.agent.settings["n_steps"]))
        for run in runs
    )  # fmt: skip
    assert updates == {("others", 40): 670, ("vpg", 160): 40, ("a2c", 640): 40}
    said = (CONFIGS / "every_rule.yaml").read_text()
    assert "750 runs:\n# 670 of 40 updates, 40 of 160 (vpg) and 40 of 640 (a2c)" in said


def test_trust_regions_is_a_part_of_every_rule():
    few, all_of_them = read("trust_regions"), read("every_rule")
    assert [env.id for env in few.envs] == [env.id for env in all_of_them.envs]
    known = {run.run_id: run for run in all_of_them.runs()}
    for run in few.runs():
        assert run.deciding() == known[run.run_id].deciding()
    assert {
        run.steps / (run.agent.settings["n_envs"] * run.agent.settings["n_steps"]) for run in few.runs()
    } == {40}


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


def test_one_seed_gives_the_arms_of_the_factorial_what_the_file_says_they_share():
    """The order of the minibatches everywhere, the first weights where the start is the same, and no others."""
    weights, orders = {}, {}
    for run in read("clip_or_options").runs()[:6]:
        vec_env = room("agents").vectorize(run.env.id, run.agent.settings["n_envs"], 0, run.env.settings)
        model = make_agent(run.agent, vec_env, 0)
        vec_env.close()
        weights[run.agent.label] = torch.nn.utils.parameters_to_vector(model.policy.parameters())
        orders[run.agent.label] = model.minibatch_rng.permutation(2048).tolist()
    assert all(order == orders["ppo"] for order in orders.values())
    alike = [
        {one for one in weights if torch.equal(weights[one], weights[label])} for label in ("ppo", "ppo-m")
    ]
    assert alike == [{"ppo", "ppo-noclip", "trpo-plus"}, {"ppo-m", "ppo-noclip-m", "trpo"}]
