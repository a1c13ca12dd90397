"""What a study of so many seeds can find out: exact power of tests of rates, and of a paired t test.

One comparison of two arms on one task, n seeds each, level 5 % two-sided. Nothing here is corrected for many
comparisons.
"""

from dataclasses import dataclass
from functools import lru_cache
from math import comb, exp, sqrt

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from rl_lab.study.plan import Study

LEVEL = 0.05
"""How often a test of two equal arms may say that they differ, two-sided."""
POWER = 0.8
"""How often it shall find the difference that is there."""
BOUND = 0.95
"""Confidence of the one-sided bound of a rate."""


def rate_bound(n: int, successes: int = 0, confidence: float = BOUND) -> float:
    """One-sided Clopper-Pearson upper bound of a rate of which n runs showed some successes.

    The largest p with P(Bin(n, p) <= successes) >= 1 - confidence; without successes 1 - (1 - confidence)^(1/n).
    Source: Clopper and Pearson, Biometrika 26, 404 (1934).
    """
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"expected 0 to n successes in n >= 1 runs, got {successes} in {n}")
    return 1.0 if successes == n else float(stats.beta.ppf(confidence, successes + 1, n - successes))


def fisher_power(n: int, p: float, q: float, level: float = LEVEL) -> float:
    """Chance that Fisher's exact test finds rates p and q different with n runs each.

    sum over (x, y) of Bin(x; n, p) Bin(y; n, q) [p value of the table (x, n - x; y, n - y) <= level]: exact, for arms
    that do not share their seeds. Seeds in common that make both collapse together make it a lower bound.
    Source: Fisher, Statistical Methods for Research Workers, 5th ed. (1934), section 21.02.
    """
    runs = np.arange(n + 1)
    joint = np.outer(stats.binom.pmf(runs, n, p), stats.binom.pmf(runs, n, q))
    return float(joint[_fisher_rejects(n, level)].sum())


@lru_cache(maxsize=8)
def _fisher_rejects(n: int, level: float) -> NDArray[np.bool_]:
    """[n + 1, n + 1]: whether the table of x and y successes in n runs each has a p value of at most `level`."""
    rejects = np.zeros((n + 1, n + 1), dtype=bool)
    for total in range(2 * n + 1):
        x = np.arange(max(0, total - n), min(n, total) + 1)
        chance = stats.hypergeom.pmf(x, 2 * n, total, n)
        # Tables as likely as the one at hand count too; rounding must not part them.
        values = np.array([chance[chance <= own * (1 + 1e-7)].sum() for own in chance])
        rejects[x, total - x] = values <= level
    return rejects


def mcnemar_power(n: int, first_only: float, second_only: float, level: float = LEVEL) -> float:
    """Chance that McNemar's exact test finds n pairs of runs different.

    first_only, second_only: chances that in a pair (one seed) only the first, or only the second, collapses. Given m
    such pairs their split is Bin(m, 1/2) if the arms are equal, and the test is that of a fair coin.
    Source: McNemar, Psychometrika 12, 153 (1947), in its exact form.
    """
    either = first_only + second_only
    if either == 0:
        return 0.0
    chances = stats.binom.pmf(np.arange(n + 1), n, either)
    return float(sum(chances[m] * _coin_power(m, first_only / either, level) for m in range(1, n + 1)))


def _coin_power(m: int, p: float, level: float) -> float:
    heads = np.arange(m + 1)
    values = np.minimum(1, 2 * stats.binom.cdf(np.minimum(heads, m - heads), m, 0.5))
    return float(stats.binom.pmf(heads, m, p)[values <= level].sum())


def smallest_rate(n: int, power: float = POWER, level: float = LEVEL) -> float | None:
    """Smallest collapse rate that Fisher's exact test tells from an arm without collapses; None: not even 100 %.

    k collapses against none have the p value 2 C(n, k) / C(2n, k), so there is a least number k of them, and
    P(Bin(n, rate) >= k) = power at the `power` quantile of Beta(k, n - k + 1).
    """
    least = next((k for k in range(1, n + 1) if 2 * comb(n, k) <= level * comb(2 * n, k)), None)
    return None if least is None else float(stats.beta.ppf(power, least, n - least + 1))


def smallest_paired_rate(n: int, power: float = POWER, level: float = LEVEL) -> float | None:
    """The same for McNemar's exact test, where k pairs that all fall to one side have the p value 2^(1 - k)."""
    least = next((k for k in range(1, n + 1) if 2.0 ** (1 - k) <= level), None)
    return None if least is None else float(stats.beta.ppf(power, least, n - least + 1))


def paired_t_power(n: int, difference: float, level: float = LEVEL) -> float:
    """Chance that a paired t test of n seeds finds a difference, in standard deviations of the paired differences.

    P(|T| > t) for T of noncentral t with n - 1 degrees of freedom and noncentrality difference sqrt(n), t the
    1 - level / 2 quantile of the central one. Normal differences.
    Source: Johnson and Welch, Biometrika 31, 362 (1940).
    """
    if n < 2:
        return 0.0
    edge = stats.t.ppf(1 - level / 2, n - 1)
    shift = difference * sqrt(n)
    return float(stats.nct.sf(edge, n - 1, shift) + stats.nct.sf(edge, n - 1, -shift))


def smallest_difference(n: int, power: float = POWER, level: float = LEVEL) -> float | None:
    """Smallest difference that `paired_t_power` finds with this power; None for a single seed.

    In standard deviations of the paired differences. Arms of equal spread whose returns correlate by rho over the
    seeds have differences of sqrt(2 (1 - rho)) times their own standard deviation.
    """
    if n < 2:
        return None
    top = 1.0
    while paired_t_power(n, top, level) < power:
        top *= 2
    found = optimize.brentq(lambda d: paired_t_power(n, d, level) - power, 0.0, top, xtol=1e-10)
    return float(found)


def smallest_hazard_ratio(events: int, power: float = POWER, level: float = LEVEL) -> float | None:
    """Smallest ratio (above 1) of two hazards that a log-rank test of two equally large arms finds; None: no events.

    exp(2 (z_(1 - level/2) + z_power) / sqrt(events)), events counted over both arms. An approximation for many events.
    Source: Schoenfeld, Biometrika 68, 316 (1981).
    """
    if events < 1:
        return None
    z = stats.norm.ppf(1 - level / 2) + stats.norm.ppf(power)
    return exp(float(2 * z / sqrt(events)))


@dataclass(frozen=True)
class Detectable:
    """What n paired seeds can show of one comparison on one task; None: nothing however large."""

    seeds: int
    collapse_rate_bound: float
    """If no run of an arm collapses."""
    smallest_collapse_rate: float | None
    """Beside an arm without collapses; Fisher's exact test."""
    smallest_collapse_rate_paired: float | None
    """The same with McNemar's exact test."""
    smallest_difference: float | None
    """Of a number per run, in standard deviations of the paired differences; paired t test."""
    smallest_hazard_ratio: float | None
    """Of the time to collapse, where every run collapses; log-rank test."""

    def sentences(self, primary: str) -> list[str]:
        """In words, what concerns the primary outcome first."""
        said = {
            "collapse": [self._bound(), self._rates()],
            "return_final": [self._difference("returns")],
            "kl_spikes": [self._difference("numbers of KL spikes")],
            "time_to_collapse": [self._hazards()],
        }
        shown = [primary, *(name for name in ("return_final", "collapse") if name != primary)]
        return [sentence for name in shown for sentence in said[name]]

    def _bound(self) -> str:
        runs = "1 run bounds" if self.seeds == 1 else f"{self.seeds} runs bound"
        return f"0 collapses in {runs} the rate below {_percent(self.collapse_rate_bound)} (one-sided 95 %)"

    def _rates(self) -> str:
        if self.smallest_collapse_rate is None:
            few = f"{_seeds(self.seeds)} {'is' if self.seeds == 1 else 'are'} too few for Fisher's exact test"
            return f"no difference of collapse rates can be found: {few}"
        return (
            f"beside an arm that never collapses, a collapse rate of {_percent(self.smallest_collapse_rate)} is found"
            " 4 times in 5 (Fisher's exact test)"
        )

    def _difference(self, what: str) -> str:
        if self.smallest_difference is None:
            return f"no difference of {what} can be found with one seed"
        return (
            f"a difference of {what} of {self.smallest_difference:.2g} standard deviations of the paired differences is"
            f" found 4 times in 5 (paired t test, {_seeds(self.seeds)})"
        )

    def _hazards(self) -> str:
        return (
            f"if every run collapses, hazards that differ by a factor of {self.smallest_hazard_ratio:.2g} are found"
            f" 4 times in 5 (log-rank test, {_seeds(self.seeds)} an arm); fewer collapses show less"
        )


def detectable(study: Study) -> Detectable:
    """What the seeds of a study can show."""
    n = len(study.seeds)
    return Detectable(
        seeds=n,
        collapse_rate_bound=rate_bound(n),
        smallest_collapse_rate=smallest_rate(n),
        smallest_collapse_rate_paired=smallest_paired_rate(n),
        smallest_difference=smallest_difference(n),
        smallest_hazard_ratio=smallest_hazard_ratio(2 * n),
    )


def _seeds(n: int) -> str:
    return "1 seed" if n == 1 else f"{n} seeds"


def _percent(rate: float) -> str:
    return f"{100 * rate:.0f} %" if rate >= 0.0995 else f"{100 * rate:.2g} %"
