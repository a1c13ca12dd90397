"""One definition per chart: the page shows it live, the pictures show it still."""

from rl_lab.report.charts.encoding import Drawing
from rl_lab.report.charts.kl import kl_per_update
from rl_lab.report.charts.learning import learning_curves
from rl_lab.report.charts.multiples import run_multiples
from rl_lab.report.charts.overview import (
    kl_column,
    learning_column,
    overview,
    rates_column,
    survival_column,
)
from rl_lab.report.charts.profile import performance_profile
from rl_lab.report.charts.rates import collapse_rates
from rl_lab.report.charts.survival import survival_curves
from rl_lab.report.charts.tails import kl_tails
from rl_lab.report.charts.timeline import events_timeline

__all__ = [
    "Drawing",
    "collapse_rates",
    "events_timeline",
    "kl_column",
    "kl_per_update",
    "kl_tails",
    "learning_column",
    "learning_curves",
    "overview",
    "performance_profile",
    "rates_column",
    "run_multiples",
    "survival_column",
    "survival_curves",
]
