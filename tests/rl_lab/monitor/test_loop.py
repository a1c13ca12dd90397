"""The monitor without a framework: any torch policy, any loop."""

import json

import numpy as np
import pytest
import torch
from torch import nn
from torch.distributions import (
    Bernoulli,
    Categorical,
    Independent,
    Normal,
    TransformedDistribution,
    kl_divergence,
)
from torch.distributions.transforms import TanhTransform

from rl_lab import LoopMonitor
from rl_lab.monitor.measure import distributions as own
from rl_lab.monitor.measure.torch_policies import log_prob, read
from rl_lab.monitor.record.run_directory import read_run

N = 64


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def normal(seed):
    return Normal(draw(N, 3, seed=seed), draw(N, 3, seed=seed + 10).exp())


POLICIES = {
    "normal": normal,
    "independent": lambda seed: Independent(normal(seed), 1),
    "squashed": lambda seed: TransformedDistribution(normal(seed), [TanhTransform()]),
    "categorical": lambda seed: Categorical(logits=draw(N, 5, seed=seed)),
    "bernoulli": lambda seed: Bernoulli(logits=draw(N, 4, seed=seed)),
    "several": lambda seed: [Categorical(logits=draw(N, 5, seed=seed + i)) for i in range(2)],
}


def torch_kl(old, new):
    """Summed over action dimensions; a bijection that both share changes nothing."""
    if isinstance(old, list):
        return sum(kl_divergence(p, q) for p, q in zip(old, new, strict=True))
    if isinstance(old, TransformedDistribution):
        old, new = old.base_dist, new.base_dist
    return kl_divergence(old, new).reshape(N, -1).sum(1)


@pytest.fixture(params=POLICIES)
def pair(request):
    return POLICIES[request.param](1), POLICIES[request.param](2)


def test_the_kl_of_every_kind_of_policy_is_torchs(pair):
    old, new = pair
    assert read(old).kl(read(new)) == pytest.approx(torch_kl(old, new).numpy(), rel=1e-9)


def test_log_probabilities_are_summed_over_action_dimensions(pair):
    policy, _ = pair
    torch.manual_seed(0)
    if isinstance(policy, list):
        actions = torch.stack([part.sample() for part in policy], dim=1)
        expected = sum(part.log_prob(actions[:, i]) for i, part in enumerate(policy))
    else:
        actions = policy.sample()
        expected = policy.log_prob(actions).reshape(N, -1).sum(1)
    assert log_prob(policy, actions) == pytest.approx(expected.numpy(), rel=1e-9)
    if not isinstance(policy, TransformedDistribution):  # whose own form is the Gaussian before the squash
        assert log_prob(read(policy), actions) == pytest.approx(expected.numpy(), rel=1e-6)


def test_what_it_cannot_measure_is_said():
    with pytest.raises(TypeError, match="cannot measure a Cauchy yet; it knows Normal"):
        read(torch.distributions.Cauchy(torch.zeros(3), torch.ones(3)))


class Little(nn.Module):
    """A Gaussian policy and a value function of two observations."""

    def __init__(self):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 3))
        self.critic = nn.Linear(2, 1)

    def policy(self, observations):
        return Normal(self.actor(observations), 1.0)


def batch_of(agent, seed=0, **more):
    observations = draw(N, 2, seed=seed).float()
    torch.manual_seed(seed)
    with torch.no_grad():
        policy = agent.policy(observations)
        actions = policy.sample()
        stored = policy.log_prob(actions).sum(1)
    numbers = {
        name: draw(N, seed=seed + 1).float() for name in ("rewards", "values", "returns", "advantages")
    }
    return {"observations": observations, "actions": actions, "log_probs": stored, **numbers, **more}


def train(monitor, updates=3, epochs=4, learning_rate=0.01, **more):
    """Plain steps up the advantage-weighted likelihood, watched or not."""
    torch.manual_seed(7)
    agent = Little()
    optimizer = torch.optim.Adam(agent.parameters(), lr=learning_rate)
    for number in range(updates):
        batch = batch_of(agent, seed=number, **more)

        def steps(batch=batch):
            for _ in range(epochs):
                likelihood = agent.policy(batch["observations"]).log_prob(batch["actions"]).sum(1)
                loss = (
                    -(likelihood * batch["advantages"]).mean()
                    + agent.critic(batch["observations"]).square().mean()
                )
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
                optimizer.step()

        if monitor is None:
            steps()
        else:
            monitor.step(np.ones(4), np.zeros(4, bool))
            with monitor.update(agent.policy, batch, agent, optimizer):
                steps()
    return agent


def watch(folder, **more):
    return LoopMonitor(folder / "run", env="mine", agent="ppo", n_envs=4, say=lambda text: None, **more)


def rows_of(monitor):
    return [json.loads(line) for line in (monitor.run_dir / "updates.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("level", ["light", "standard", "full"])
def test_a_watched_loop_has_the_same_bits_and_no_hook_is_left(level, tmp_path):
    clip = nn.utils.clip_grad_norm_
    with watch(tmp_path, level=level, guards=()) as monitor:
        watched = train(monitor)
    alone = train(None)
    pairs = zip(alone.parameters(), watched.parameters(), strict=True)
    assert all(torch.equal(mine, theirs) for mine, theirs in pairs)
    assert nn.utils.clip_grad_norm_ is clip
    assert not any(m._forward_hooks for m in watched.modules())


def test_update_looks_by_itself_and_finds_what_observe_is_told(tmp_path):
    agent = Little()
    optimizer = torch.optim.SGD(agent.parameters(), lr=0.3)
    batch = batch_of(agent)
    first, second = watch(tmp_path / "a", level="full"), watch(tmp_path / "b")
    with torch.no_grad():
        old = agent.policy(batch["observations"])
    with first.update(agent.policy, batch, agent, optimizer):
        for _ in range(5):
            optimizer.zero_grad()
            (
                -agent.policy(batch["observations"]).log_prob(batch["actions"]).sum(1) * batch["advantages"]
            ).mean().backward()
            optimizer.step()
    with torch.no_grad():
        new = agent.policy(batch["observations"])
    second.observe(old, new, batch)
    (seen,), (told,) = rows_of(first), rows_of(second)
    kl = kl_divergence(old, new).sum(1)
    assert kl.mean() > 1e-3, "nothing moved"
    for row in (seen, told):
        assert row["kl_mean"] == pytest.approx(float(kl.mean()), rel=1e-4)
        assert row["kl_max"] == pytest.approx(float(kl.max()), rel=1e-4)
    assert seen["step_norm"] > 0
    assert told["step_norm"] is None
    assert seen["gradient_norm"] is None, "this loop does not clip"


def test_stale_log_probabilities_are_an_event(tmp_path):
    agent = Little()
    fresh = batch_of(agent)
    with torch.no_grad():
        policy = agent.policy(fresh["observations"])
    assert watch(tmp_path / "fresh").observe(policy, policy, fresh) == []
    stale = {**fresh, "log_probs": fresh["log_probs"] + 0.3}
    assert watch(tmp_path / "stale").observe(policy, policy, stale) != []


def test_an_environment_that_pays_nan_is_named_at_once(tmp_path):
    said = []
    monitor = LoopMonitor(tmp_path / "run", n_envs=2, say=said.append)
    monitor.step([1.0, float("nan")], [False, False])
    assert "reward returned by environment 1" in said[0]


def test_episodes_are_counted_or_told(tmp_path):
    monitor = watch(tmp_path)
    for done in (False, True):
        monitor.step(np.array([1.0, 2, 3, 4]), np.array([False, done, False, False]))
    monitor.episode(10.0, 5)
    agent = Little()
    batch = batch_of(agent)
    policy = agent.policy(batch["observations"])
    monitor.observe(policy, policy, batch)
    (row,) = rows_of(monitor)
    assert (row["episodes"], row["return_mean"], row["length_mean"], row["env_steps"]) == (2, 7.0, 3.5, 8)


def test_without_steps_a_batch_tells_what_is_paid_and_episodes_are_unknown(tmp_path):
    told, untold, agent = watch(tmp_path / "told"), watch(tmp_path / "untold"), Little()
    batch = batch_of(agent)
    policy = agent.policy(batch["observations"])
    told.step(np.full((4, 1), 7.0), np.zeros((4, 1)))
    for monitor in (told, told, untold):
        monitor.observe(policy, policy, batch)
    ours = [(row["paid_max"], row["episodes"]) for row in rows_of(told)]
    assert ours == [(7.0, 0), (None, 0)], "what a batch holds is not what was paid since"
    (row,) = rows_of(untold)
    assert (row["paid_max"], row["episodes"]) == (pytest.approx(float(batch["rewards"].abs().max())), None)


def test_a_loop_without_episodes_is_told_of_other_units_all_the_same(tmp_path):
    monitor, agent, batch = watch(tmp_path), Little(), batch_of(Little())
    for update in range(30):
        unit = 1000.0 if update >= 25 else 1.0
        observations = draw(N, 2, seed=update).float() * unit
        policy = agent.policy(observations)
        seen = {**batch, "observations": observations, "rewards": batch["rewards"] * unit}
        del seen["log_probs"]
        monitor.observe(policy, policy, seen)
    events = {event["event"]: event["update"] for event in read_run(monitor.run_dir).events}
    assert (events["reward_outlier"], events["observation_shift"]) == (26, 28)


def test_dones_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ValueError, match="dones: 3 values for the rewards of 4 environments"):
        watch(tmp_path).step(np.ones(4), np.zeros(3))


def test_how_a_loop_ended_is_in_the_manifest(tmp_path):
    def status(monitor):
        manifest = json.loads((monitor.run_dir / "manifest.json").read_text())
        return manifest["status"], manifest["reason"]

    with watch(tmp_path / "a") as done:
        pass
    assert status(done) == ("done", None)
    broken = watch(tmp_path / "b")
    with pytest.raises(OSError, match="disk"), broken:
        raise OSError("disk")
    assert status(broken) == ("failed", "OSError: disk")
    stopped = watch(tmp_path / "c")
    with pytest.raises(KeyboardInterrupt), stopped:
        raise KeyboardInterrupt
    assert status(stopped)[0] == "interrupted"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            {"returns": torch.zeros(N, 1)},
            r"batch: returns must have the shape \(64,\) of one number per action",
        ),
        ({"advantage": torch.zeros(N)}, "batch: advantage is not a part of it. Did you mean advantages"),
        ({"actions": None}, "batch: has no actions"),
    ],
)
def test_a_batch_that_does_not_fit_is_refused_with_a_sentence(change, sentence, tmp_path):
    agent = Little()
    batch = {name: part for name, part in {**batch_of(agent), **change}.items() if part is not None}
    policy = agent.policy(batch["observations"])
    with pytest.raises(ValueError, match=sentence):
        watch(tmp_path).observe(policy, policy, batch)


def test_our_own_distributions_are_taken_as_they_are():
    gaussian = own.Gaussian(np.zeros((2, 1)), np.zeros((2, 1)))
    assert read(gaussian) is gaussian


class Noisy(Little):
    """A policy with dropout, statistics of a batch and a standard deviation that is a parameter."""

    def __init__(self):
        super().__init__()
        self.actor = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Dropout(0.5), nn.Linear(8, 3))
        self.std = nn.Parameter(torch.ones(3))

    def policy(self, observations):
        return Normal(self.actor(observations), self.std)


def test_looking_draws_nothing_counts_nothing_and_keeps_the_old_policy(tmp_path):
    agent = Noisy()
    batch = batch_of(Little())
    optimizer = torch.optim.SGD(agent.parameters(), lr=0.1)
    statistics, state = agent.actor[1].running_mean.clone(), torch.get_rng_state()
    monitor = watch(tmp_path, level="full", guards=())
    with monitor.update(agent.policy, batch, agent, optimizer):
        agent.std.sum().backward()
        optimizer.step()
    (row,) = rows_of(monitor)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(agent.actor[1].running_mean, statistics)
    assert agent.training
    d = -np.log(0.9)  # the standard deviation went from 1 to 0.9 in three dimensions
    assert row["kl_mean"] == pytest.approx(3 * (0.5 * np.expm1(2 * d) - d), rel=1e-4)


@pytest.mark.parametrize("caught", [True, False])
def test_a_loss_that_is_nan_is_named_though_torch_refuses_the_policy(caught, tmp_path):
    agent = Little()
    optimizer = torch.optim.SGD(agent.parameters(), lr=0.1)
    batch = batch_of(agent)
    monitor = watch(tmp_path)

    def steps():
        with monitor.update(agent.policy, batch, agent, optimizer):
            (agent.policy(batch["observations"]).log_prob(batch["actions"]).sum() * float("nan")).backward()
            nn.utils.clip_grad_norm_(agent.parameters(), 0.5)
            optimizer.step()
            if not caught:
                agent.policy(batch["observations"])

    if caught:
        steps()
        assert np.isnan(float(rows_of(monitor)[0]["kl_mean"]))
    else:
        with pytest.raises(ValueError, match="constraint"):
            steps()
    monitor.close()
    first = json.loads((monitor.run_dir / "events.jsonl").read_text().splitlines()[0])
    assert (first["event"], first["details"]["quantity"]) == ("nonfinite", "gradient")
    assert json.loads((monitor.run_dir / "manifest.json").read_text())["status"] == "diverged"


def test_several_choices_in_one_distribution_and_columns_of_actions():
    together = Categorical(logits=draw(N, 2, 5, seed=3)), Categorical(logits=draw(N, 2, 5, seed=4))
    assert read(together[0]).kl(read(together[1])) == pytest.approx(kl_divergence(*together).sum(1).numpy())
    policy = Categorical(logits=draw(N, 5, seed=1))
    actions = torch.arange(N) % 5
    assert log_prob(policy, actions[:, None]) == pytest.approx(log_prob(policy, actions))
    with pytest.raises(ValueError, match=r"actions must have the shape \(64,\) of the policy, got \(64, 2\)"):
        log_prob(policy, torch.zeros(N, 2))


def test_one_activation_after_several_layers_is_heard_once_for_each():
    from rl_lab.monitor.measure.activations import listening

    act, first, second, head = nn.ReLU(), nn.Linear(2, 8), nn.Linear(8, 5), nn.Linear(5, 1)
    network = nn.ModuleList([act, first, second, head])
    states = draw(20, 2).float()
    with listening(network) as heard:
        for piece in states.split(8):
            head(act(second(act(first(piece)))))
    assert {name: tuple(h.shape) for name, h in heard.layers.items()} == {"0": (20, 8), "0 #2": (20, 5)}
    torch.testing.assert_close(heard.features, act(second(act(first(states)))).detach())
