"""Off-policy algorithms: no rollout that one policy collected, so policies are compared on a fixed set of states."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from rl_lab.monitor.measure import digest
from rl_lab.monitor.measure.drift import Answers, Drift, answers, probe
from rl_lab.monitor.measure.rollout import Observations
from rl_lab.monitor.measure.update import Update
from rl_lab.monitor.quantities import Level

TARGET = "_target"
"""How the names of SB3's target networks end: they follow the others and are not trained."""


class Watched:
    """The networks of an off-policy algorithm: since the last stretch began, and at this moment.

    From the level `standard` on they are asked about a fixed set of states, which is taken from the replay buffer
    when a stretch ends and there are enough of them; the first drift is that of the next stretch.
    """

    def __init__(self, model: Any, level: Level = Level.STANDARD) -> None:
        self._model = model
        self._trained: dict[str, Parameter] = {
            name: parameter
            for name, parameter in model.policy.named_parameters()
            if not name.partition(".")[0].endswith(TARGET)
        }
        self._began: int = model.num_timesteps
        self._old = self.parameters()
        self._before = digest.of_policy(model)
        self._is_asked = level >= Level.STANDARD
        self._probe: Observations | None = None
        self._answers: Answers | None = None
        self._ask()  # a buffer may have been loaded

    @property
    def length(self) -> int:
        """Environment steps since the stretch began."""
        return int(self._model.num_timesteps) - self._began

    def end_stretch(self) -> Update:
        """End this stretch here and begin the next."""
        new, drift, after = self.parameters(), self._ask(), digest.of_policy(self._model)
        stretch = Update(
            probe=drift.change if drift is not None else None,
            drift=drift,
            old_parameters=self._old,
            new_parameters=new,
            logged={k: v for k, v in self._model.logger.name_to_value.items() if k.startswith("train/")},
            digests={
                **digest.of_stretch(self._model, self.length),
                "before": self._before,
                "after": after,
                "random": digest.of_generators(self._model),
                "optimizer": digest.of_rest(self._model),
            },
        )
        self._old, self._before, self._began = new, after, self._model.num_timesteps
        return stretch

    def _ask(self) -> Drift | None:
        """What the networks answer now, beside what they answered when they were asked last."""
        if not self._is_asked:
            return None
        if self._probe is None:
            self._begin_asking()
            return None
        old, self._answers = self._answers, answers(self._model, self._probe)
        return Drift(old, self._answers) if old is not None else None

    def _begin_asking(self) -> None:
        states = probe(self._model)
        if states is None:
            return
        try:
            self._answers, self._probe = answers(self._model, states), states
        except Exception:  # networks of somebody's own kind must not stop his training
            self._is_asked = False

    def first_nonfinite(self) -> str | None:
        """Name of the first trained parameter that holds a NaN or infinity; None if there is none.

        It is asked after every round of training, so one fused kernel looks first. Its squares may overflow
        where the parameters do not, and only then they are looked at one by one.
        """
        with torch.no_grad():
            norms = torch.stack(torch._foreach_norm(list(self._trained.values())))
            if torch.isfinite(norms).all():
                return None
            bad = (name for name, values in self._trained.items() if not torch.isfinite(values).all())
            return next(bad, None)

    def can_act(self) -> bool:
        """Whether the policy's most likely action in the last observation is a finite number."""
        seen = self._model._last_obs
        if seen is None:
            return True
        try:
            action, _ = self._model.predict(seen, deterministic=True)
        except ValueError:  # torch.distributions says so of NaN
            return False
        return bool(np.isfinite(action).all())

    def parameters(self) -> Tensor:
        """All trained parameters at this moment, flat."""
        return torch.cat([parameter.detach().reshape(-1) for parameter in self._trained.values()])
