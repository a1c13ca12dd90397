"""Everything that listens to a policy while it updates: attached before train(), gone when train() is over."""

from typing import Any, NamedTuple

import numpy as np

from rl_lab.monitor.measure.clipping import ClipListener
from rl_lab.monitor.measure.gradients import GradientRecorder, Gradients, is_of_value
from rl_lab.monitor.measure.path import PathRecorder


class Heard(NamedTuple):
    """What there was to hear of one update."""

    gradients: Gradients
    path: PathRecorder


class Listeners:
    """Made once for a run, attached for every update of it.

    Gradient norms are read where the algorithm clips, which is free, or else from hooks of the parameters. The first
    update tells: both listen, and if clipping did not show every gradient that the hooks saw (the algorithm clips
    elsewhere, or in part, or not at all), hooks listen from then on; so they do after an update with steps of the
    optimizer before which nothing was clipped.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        self.clips: bool | None = None
        """Whether clipping shows every gradient; None: no update has told yet."""
        self._attached: tuple[ClipListener | None, GradientRecorder | None, PathRecorder] | None = None
        self._plain = type(model)
        self._heard: Heard | None = None
        self._watched = _ends_listening(self._plain, self)

    def attach(self) -> None:
        """Listen from now on, until train() is over, however it ends."""
        self.detach()
        self._heard = None
        policy = self._model.policy
        # Without the value function's own, a path has half the bytes and the same KL.
        acting = [p for name, p in policy.named_parameters() if not is_of_value(name)]
        path = PathRecorder(policy, policy.optimizer, parameters=acting)
        clips = ClipListener(policy, lambda: path.total) if self.clips is not False else None
        hooks = GradientRecorder(policy, lambda: path.total) if not self.clips else None
        self._attached = (clips, hooks, path)
        for listener in self._attached:
            if listener is not None:
                listener.attach()
        if type(self._model) is self._plain:
            # Its train() is the only way to know that an update has ended with an error: learn() tells nobody.
            self._model.__class__ = self._watched

    def detach(self) -> Heard | None:
        """Stop listening, leave no hook behind; what was heard since attach(), also when asked again."""
        if type(self._model) is self._watched:
            self._model.__class__ = self._plain
        attached, self._attached = self._attached, None
        if attached is not None:
            clips, hooks, path = attached
            path.detach()
            by_clip = clips.detach() if clips is not None else None
            by_hook = hooks.detach() if hooks is not None else None
            self._heard = Heard(self._choose(by_clip, by_hook), path)
            if self.clips and len(self._heard.gradients.norms) < path.total:
                self.clips = False
        return self._heard

    def _choose(self, by_clip: Gradients | None, by_hook: Gradients | None) -> Gradients:
        if by_hook is None:
            assert by_clip is not None
            return by_clip
        if by_clip is None:
            return by_hook
        if len(by_hook.norms):  # an update without a gradient says nothing of what is clipped
            self.clips = np.array_equal(np.isneginf(by_clip.norms), np.isneginf(by_hook.norms))
        return by_clip if self.clips else by_hook


def _ends_listening(plain: type, listeners: Listeners) -> type:
    """The class of a model, with a train() after which nobody listens any more.

    A model wears it from the end of a rollout to the beginning of train(). An attribute of the model would be saved
    with it, and hooks that outlive a failed train() would go on listening to whatever is done with the policy next.
    """

    def train(model: Any, *args: Any, **kwargs: Any) -> Any:
        model.__class__ = plain
        try:
            return model.train(*args, **kwargs)
        finally:
            if model is listeners._model:
                listeners.detach()

    return type(
        plain.__name__, (plain,), {"train": train, "__module__": plain.__module__, "__doc__": plain.__doc__}
    )
