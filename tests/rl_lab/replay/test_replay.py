"""The same update again: to the bit under its own rule, and under others from the same start."""

import random

import numpy as np
import pytest
import torch
from gymnasium import spaces
from recorded import BATCHES, MAKE, Keeping, environments, recorded, stock
from sb3_contrib import RecurrentPPO
from stable_baselines3 import PPO

from rl_lab.errors import UserError
from rl_lab.monitor.record.incident_files import fingerprint
from rl_lab.replay import others, read, replay
from rl_lab.replay.build import rebuild
from rl_lab.replay.redo import compare, redo


@pytest.mark.parametrize("case", MAKE)
def test_under_the_original_rule_every_bit_is_as_it_was(case, tmp_path):
    incident, model = recorded(MAKE[case], tmp_path)
    rebuilt = rebuild(incident)
    again = redo(rebuilt, incident, case)
    assert fingerprint(incident.part("policy")) != incident.document["digest"], "the update did nothing"
    for name, value in model.policy.state_dict().items():
        assert torch.equal(again.after[name], value), name
    assert compare(again, incident).identical
    theirs, mine = model.policy.optimizer.state_dict(), rebuilt.policy.optimizer.state_dict()
    assert theirs["state"].keys() == mine["state"].keys()
    for number, entries in theirs["state"].items():
        for name, value in entries.items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(mine["state"][number][name])), name


@pytest.fixture(scope="module")
def incident(tmp_path_factory):
    """A large update of stock PPO, with optimizer moments from the one before."""
    make = stock(PPO, **BATCHES, learning_rate=0.05, policy_kwargs={"net_arch": [8]})
    return recorded(make, tmp_path_factory.mktemp("incident"))[0]


@pytest.mark.parametrize("what", ["generator", "optimizer", "setting"])
def test_an_update_from_another_start_is_not_identical_and_says_how_far_it_is(what, incident, tmp_path):
    """What is not restored would be seen: each of these alone changes the result."""
    other = read(incident.path)
    if what == "generator":
        other.before["generator/numpy"][:] = 1
    if what == "optimizer":
        other.before["optimizer/policy.optimizer/0/exp_avg"] *= 1.5
    if what == "setting":
        other.algorithm["settings"]["clip_range"] = 0.01
    other.document["machine"]["instructions"] = "none"
    again = redo(rebuild(other), other, "ppo-sb3")
    found = compare(again, other)
    assert not found.identical
    apart = max(float((again.after[k] - v).abs().max()) for k, v in incident.after.items())
    assert found.largest_difference == pytest.approx(apart)
    assert apart > 1e-6
    assert f"up to {apart:.3g}; instructions was none and is" in found.sentence()


def test_nobody_else_notices_a_replay(incident):
    """Generators and threads of the program go on as if nothing had happened, and so does the incident."""
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    wanted = torch.rand(1).item(), np.random.rand(), random.random()
    torch.manual_seed(1), np.random.seed(1), random.seed(1)
    threads, before = torch.get_num_threads(), fingerprint(incident.before)
    incident.document["machine"]["threads"], kept = threads + 1, incident.document["machine"]["threads"]
    redo(rebuild(incident), incident, "ppo-sb3")
    incident.document["machine"]["threads"] = kept
    assert (torch.rand(1).item(), np.random.rand(), random.random()) == wanted
    assert torch.get_num_threads() == threads
    assert fingerprint(incident.before) == before


def test_ppo_of_the_roster_and_of_stable_baselines3_are_the_same_counterfactual(incident):
    """Batch, order of minibatches, parameters, optimizer state and shared settings carry over, or this differs."""
    model, notes = others.under(incident, "ppo")
    assert fingerprint(redo(model, incident, "ppo").after) == incident.document["digest"]
    assert "learning_rate=0.05" in notes[0]
    assert "clip_range=0.2" in notes[0]


def test_the_others_keep_their_promises_on_the_same_batch(incident):
    found = replay(incident, ["ppo-noclip", "trpo", "a2c"])
    original, noclip, trpo, a2c = found.redone
    assert noclip.row["kl_mean"] > 10 * 0.01, "this case is too easy to test anything"
    assert original.row["kl_mean"] > 0.01
    assert trpo.limit == 0.01
    assert 0 < trpo.row["kl_mean"] <= 0.01
    assert a2c.path.total == 1
    assert len(noclip.path.kl_mean) == 3 * 4
    assert noclip.path.kl_mean[-1] == pytest.approx(noclip.row["kl_mean"])
    assert noclip.path.kl_mean[0] == pytest.approx(original.path.kl_mean[0]), "at ratio 1 nothing is clipped"
    assert any("RMSprop, and begins anew" in note for note in found.notes)


def test_a_rule_of_ours_passes_on_its_stabilisers_and_not_its_own_memory(tmp_path):
    incident, _ = recorded(MAKE["our-ppo-kl"], tmp_path)
    own = {"initial_parameters", "gradient_spikes"}
    assert own < set(incident.part("memory")), "nothing to tell apart"
    model, _ = others.under(incident, "spo")
    assert set(model.memory) == own
    assert model.stabilisers.clip_spikes
    assert model.rule.n_epochs == 3
    assert others.own_name(incident) == "ppo-kl"


def test_a_policy_that_a_rule_cannot_change_is_left_to_its_own_algorithm(tmp_path):
    make = stock(RecurrentPPO, "MlpLstmPolicy", **BATCHES, policy_kwargs={"lstm_hidden_size": 4})
    incident, _ = recorded(make, tmp_path)
    found = replay(incident)
    assert [one.rule for one in found.redone] == ["ppo-lstm"]
    assert found.verdict.identical
    assert any("its policy is recurrent" in note for note in found.notes)
    with pytest.raises(UserError, match="its policy is recurrent"):
        replay(incident, ["trpo"])


def test_a_nan_comes_back(tmp_path):
    """An environment that pays NaN: in the first minibatch every parameter becomes NaN, the second raises."""

    def make():
        paid = environments(spaces.Discrete(2), None, lambda a: float("nan"))
        return PPO("MlpPolicy", paid, n_steps=32, batch_size=16, n_epochs=1, seed=0, device="cpu")

    keeping, model = Keeping(tmp_path / "1-nonfinite", raised="ValueError"), make()
    with pytest.raises(ValueError, match="to satisfy the constraint"):
        model.learn(64, callback=keeping)
    keeping.write()
    incident = read(keeping.path)
    found = replay(incident, ["trpo", "ppo"])
    original, trpo, ppo = found.redone
    assert found.verdict.identical
    assert original.outcome == "raised ValueError"
    assert np.isnan(original.row["kl_mean"])
    assert trpo.outcome == ppo.outcome == "not finite"
    assert fingerprint(ppo.after) == fingerprint(incident.part("policy")), "our rules put everything back"


@pytest.mark.parametrize(
    ("rule", "sentence"),
    [
        ("tpro", r"tpro is not a rule; .* Did you mean trpo\?"),
        ("ppo-lstm", "ppo-lstm is a stock algorithm"),
        ("trpl", "trpl cannot be used here: it acts in Box only"),
    ],
)
def test_a_rule_that_cannot_do_it_says_so(rule, sentence, tmp_path):
    incident, _ = recorded(MAKE["ppo-discrete"], tmp_path)
    with pytest.raises(UserError, match=sentence):
        replay(incident, [rule])


def test_an_algorithm_of_the_users_own_is_replayed_as_what_it_derives_from(tmp_path):
    class Mine(PPO):
        pass

    incident, _ = recorded(stock(Mine, **BATCHES), tmp_path)
    assert incident.algorithm["class"].endswith("Mine")
    assert replay(incident, []).verdict.identical
