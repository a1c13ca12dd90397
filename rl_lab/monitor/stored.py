"""The classes that the state of a run is made of, by name: what a checkpoint may hold besides plain values."""

import sys
from functools import cache

from sb3_contrib.common.recurrent.type_aliases import RNNStates
from stable_baselines3.common.running_mean_std import RunningMeanStd

from rl_lab.monitor.detector import FOLLOWERS, new_detectors
from rl_lab.monitor.measure.course import Course, Courses
from rl_lab.monitor.measure.paid import Payments
from rl_lab.monitor.measure.returns import Episode, EpisodeReturns, Mean
from rl_lab.monitor.measure.rollout import Rollout
from rl_lab.monitor.measure.snapshot import Generators
from rl_lab.monitor.measure.visited import Visits
from rl_lab.monitor.record.apart import Known, by_name


@cache
def known() -> Known:
    """Ours that hold numbers and nothing else, every detector with what its file defines, and two of SB3's."""
    ours = (Course, Courses, Payments, Episode, EpisodeReturns, Mean, Rollout, Generators, Visits)
    files = {type(detector).__module__ for detector in new_detectors()}
    theirs = [
        kind
        for name in files
        for kind in vars(sys.modules[name]).values()
        if isinstance(kind, type) and kind.__module__ == name
    ]
    return by_name([*ours, *FOLLOWERS, *theirs, RunningMeanStd, RNNStates])
