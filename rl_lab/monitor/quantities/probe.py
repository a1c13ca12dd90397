"""How far the policy moved on a fixed set of held-out states, the same for every update of a run.

On the states of the rollout a policy may hold still that moves elsewhere. Off-policy algorithms, which have no rollout
that one policy collected, are measured here only.
"""

from typing import TYPE_CHECKING

from rl_lab.monitor.measure.numbers import percentile
from rl_lab.monitor.quantities import given

if TYPE_CHECKING:
    from rl_lab.monitor.measure.update import Update


def probe_kl_mean(u: "Update") -> float:
    """Mean over the held-out states of KL(pi_old || pi_new), summed over action dimensions [nats]."""
    return float(given(u.probe).kl.mean())


def probe_kl_p95(u: "Update") -> float:
    """95th percentile over the held-out states of KL(pi_old || pi_new) [nats]."""
    return percentile(given(u.probe).kl, 95)


def probe_kl_max(u: "Update") -> float:
    """Largest KL(pi_old || pi_new) of any held-out state [nats]."""
    return float(given(u.probe).kl.max())
