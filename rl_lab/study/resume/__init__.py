"""Runs that survive: checkpoints between two updates, and going on from them as if nothing had happened."""

from rl_lab.study.resume.checkpoint import Checkpoint, can_resume, newest

__all__ = ["Checkpoint", "can_resume", "newest"]
