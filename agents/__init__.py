"""The learners: update rules in one host, and stock algorithms, all by name."""

from agents.discovery import BrokenRuleError
from agents.roster import Agent, catalogue, make, refusal
from agents.rule import Outcome
from agents.settings import Setting
from agents.vec import vectorize

__all__ = ["Agent", "BrokenRuleError", "Outcome", "Setting", "catalogue", "make", "refusal", "vectorize"]
