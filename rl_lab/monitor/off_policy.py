"""Off-policy algorithms: no rollout and no old policy, so no exact KL; what can be seen from outside for little."""

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from rl_lab.monitor.update import Update

TARGET = "_target"
"""How the names of SB3's target networks end: they follow the others and are not trained."""


class Watched:
    """The trained parameters of an off-policy algorithm: since the last stretch began, and at this moment."""

    def __init__(self, model: Any) -> None:
        self._model = model
        self._trained: dict[str, Parameter] = {
            name: parameter
            for name, parameter in model.policy.named_parameters()
            if not name.partition(".")[0].endswith(TARGET)
        }
        self._began: int = model.num_timesteps
        self._old = self.parameters()

    @property
    def length(self) -> int:
        """Environment steps since the stretch began."""
        return int(self._model.num_timesteps) - self._began

    def end_stretch(self) -> Update:
        """End this stretch here and begin the next."""
        new = self.parameters()
        stretch = Update(
            old_parameters=self._old,
            new_parameters=new,
            logged={k: v for k, v in self._model.logger.name_to_value.items() if k.startswith("train/")},
        )
        self._old, self._began = new, self._model.num_timesteps
        return stretch

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
