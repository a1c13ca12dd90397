"""PPO's clip bounds each sample's own gradient, not what other states' gradients do to it through shared features.

Two states, one linear layer, features y = alpha x, advantage 1 everywhere, steps of SGD at 1.5 in turn, clip_range 0.1:
the toy of Moalla et al., No Representation, No Trust (arXiv:2405.00662).
"""

import numpy as np
import torch

from rl_lab.monitor.detector import Seen
from rl_lab.monitor.detectors.ratio_break import RatioBreak
from rl_lab.monitor.measure.distributions import Categorical, Step
from rl_lab.monitor.measure.limits import Limits
from rl_lab.monitor.measure.update import Update, measure

CLIP_RANGE, LEARNING_RATE, STEPS = 0.1, 1.5, 20
X = 0.15


def one_update(shared, alpha=3.0):
    """One PPO update of 20 minibatches, x and y in turn; with `shared`, y = alpha x, else y has weights of its own."""
    features = torch.tensor([[X, 0.0], [alpha * X, 0.0] if shared else [0.0, X]])
    layer = torch.nn.Linear(2, 2, bias=False)
    torch.nn.init.zeros_(layer.weight)
    optimizer = torch.optim.SGD(layer.parameters(), lr=LEARNING_RATE)
    old = torch.log_softmax(layer(features), dim=1).detach()
    for step in range(STEPS):
        state = step % 2
        ratio = (torch.log_softmax(layer(features[state]), dim=0)[0] - old[state, 0]).exp()
        loss = -torch.minimum(ratio, ratio.clamp(1 - CLIP_RANGE, 1 + CLIP_RANGE))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    new = torch.log_softmax(layer(features), dim=1).detach()
    return old.double().numpy(), new.double().numpy()


def judged(old, new):
    """What the monitor says of this update alone, and its row."""
    step = Step(Categorical((old,)), Categorical((new,)), (new - old)[:, 0])
    update = Update(step=step, limits=Limits(clip_range=CLIP_RANGE))
    row = {"update": 1, "env_steps": 2, **measure(update)}
    return row, RatioBreak().observe(Seen(row, limits=update.limits, update=update))


def test_apart_each_state_stops_at_its_own_clip():
    old, new = one_update(shared=False)
    ratio = np.exp(new - old)[:, 0]
    assert (ratio > 1 + CLIP_RANGE / 2).all(), "it is the clip that stops them, not the number of steps"
    assert (ratio < 1 + 1.1 * CLIP_RANGE).all()
    _, found = judged(old, new)
    assert found == []


def test_coupled_the_other_state_is_pushed_past_the_clip_and_the_monitor_says_so():
    old, new = one_update(shared=True)
    ratio = np.exp(new - old)[:, 0]
    assert ratio[0] < 1 + 1.1 * CLIP_RANGE
    assert ratio[1] > 1 + 2.5 * CLIP_RANGE, "PPO clips, and yet"
    row, found = judged(old, new)
    assert row["kl_mean"] < 0.05, "no spike of the KL would tell"
    (finding,) = found
    assert finding.event == "ratio_break"
    assert f"1 ± {CLIP_RANGE}" in finding.message


def test_the_stronger_the_coupling_the_farther():
    farthest = [
        np.exp(np.subtract(*one_update(True, alpha)[::-1]))[:, 0].max() for alpha in (1.0, 2.0, 3.0, 4.0)
    ]
    assert farthest == sorted(farthest)
    assert farthest[-1] > 1 + 3 * CLIP_RANGE
