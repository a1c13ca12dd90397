"""What stable-baselines3 allows to be done to a training, between one update and the next rollout."""

from typing import Any

from stable_baselines3.common.off_policy_algorithm import OffPolicyAlgorithm

from rl_lab.monitor.act.brake import Brake
from rl_lab.monitor.act.checkpoints import save_checkpoint, save_tensors
from rl_lab.monitor.act.hands import WHY, Observing, Onlooker
from rl_lab.monitor.act.shrinking import shrink
from rl_lab.monitor.guard import Saved, Shrunk
from rl_lab.monitor.measure import snapshot
from rl_lab.monitor.measure.on_policy import Pending
from rl_lab.monitor.quantities import NotApplicable


class TrainingHand(Onlooker):
    """`pending` is the update that is over; None while a rollout is collected, and off-policy."""

    def __init__(self, observer: Observing, model: Any, brake: Brake, pending: Pending | None) -> None:
        super().__init__(observer)
        self._model, self._brake, self._pending = model, brake, pending

    @property
    def steps_left(self) -> int | None:
        """Environment steps from here to what learn() was asked for."""
        return max(0, int(self._model._total_timesteps) - int(self._model.num_timesteps))

    def checkpoint(self, update: int) -> Saved:
        """Write the policy from before the update, and its optimizer; off-policy, the policy as it is now."""
        folder, model = self._observer.recorder.path / "checkpoints", self._model
        if isinstance(
            model, OffPolicyAlgorithm
        ):  # an update is a stretch there, and nobody kept its beginning
            return save_tensors(model.policy.state_dict(), folder / f"at-{update}.safetensors")
        path = folder / f"before-{update}.safetensors"
        if path.exists():  # for another event of the same update
            raise FileExistsError(f"{path.name} is there already")
        before = self._pending.snapshot if self._pending is not None else snapshot.take(model)
        return save_checkpoint(before.policy, before.optimizers, path)

    def restore(self) -> int:
        """Put policy, optimizer and memory back to before the update; environment steps that are thrown away."""
        pending = self._needs_pending()
        snapshot.restore(self._model, pending.snapshot)
        self._moved()
        return len(pending.rollout)

    def cut(self, factor: float, least: float) -> str:
        """Multiply learning rate and KL limit of the updates to come."""
        return self._brake.cut(factor, least)

    def shrink(self, limit: float | None, most: int) -> Shrunk | None:
        """Halve the policy's step until it is within the limit; one that is not finite is taken back whole."""
        pending = self._needs_pending()
        if self.took_back:
            return None
        shrunk = shrink(self._model, pending, limit, most)
        if shrunk is not None:
            self._moved()
        return shrunk

    def _needs_pending(self) -> Pending:
        if self._pending is None:
            raise NotApplicable(WHY)
        return self._pending

    def _moved(self) -> None:
        """The policy is another one than a moment ago."""
        self.took_back = True
        if self._model.use_sde:  # stable-baselines3 has drawn the noise of the next rollout already
            self._model.policy.reset_noise(self._model.n_envs)
