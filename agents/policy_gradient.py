"""What the rules of one plain gradient step have in common: the policy gradient itself."""

from dataclasses import dataclass

from torch import Tensor

from agents.rule import FirstOrderRule


@dataclass(frozen=True, kw_only=True)
class PolicyGradientRule(FirstOrderRule):
    """maximise  A log pi(a|s),  written as  ratio A  at ratio 1, where both have the same gradient."""

    def log_ratio(self, log_prob: Tensor, old_log_prob: Tensor) -> Tensor:
        """Zero with the gradient of log pi_new: the policy that acted is the present one, to the last bit."""
        del old_log_prob
        return log_prob - log_prob.detach()

    def objective(self, ratio: Tensor, advantage: Tensor, kl: Tensor) -> Tensor:
        """Per sample, shapes [..., B] -> [..., B]; leading axes are independent agents."""
        del kl
        return ratio * advantage
