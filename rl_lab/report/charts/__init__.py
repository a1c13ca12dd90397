"""One definition per chart: the page shows it live, the pictures show it still."""

from rl_lab.report.charts.encoding import Drawing
from rl_lab.report.charts.kl import kl_per_update
from rl_lab.report.charts.learning import learning_curves
from rl_lab.report.charts.overview import kl_column, learning_column, overview, rates_column
from rl_lab.report.charts.rates import collapse_rates

__all__ = [
    "Drawing",
    "collapse_rates",
    "kl_column",
    "kl_per_update",
    "learning_column",
    "learning_curves",
    "overview",
    "rates_column",
]
