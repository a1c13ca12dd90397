"""The card of a task, laid out for people."""

from collections.abc import Sequence
from math import log
from textwrap import fill
from typing import Any

from rich.console import Console

from rl_lab.cli import show

MANY = 8
"""Numbers of a list that are printed before it is cut short."""


def print_card(card: dict[str, Any]) -> None:
    """Equations, task and chaos, a section each."""
    width = min(Console().width, 100) if Console().is_terminal else 100
    show.line(f"{card['id']}: {card['goal']}")
    _section("Equations")
    for paragraph in card["paragraphs"]:
        show.line(fill(paragraph, width))
        show.line()
    show.facts(
        [
            ("states", _names(card["states"])),
            ("parameters", _parameters(card)),
            ("step dt", f"{card['dt']:g}"),
            ("source", card["source"]),
        ]
        + ([("remarks", fill(card["remarks"], width - 14))] if card["remarks"] else [])
    )
    _section("Task")
    show.facts(_task(card))
    _section("Chaos")
    show.facts(_chaos(card))
    _section("LaTeX")
    show.line(card["latex"].strip() if len(card["states"]) <= MANY else "in --json")
    _section("Versions")
    show.facts([(f"v{row['version']}", row["change"]) for row in card["versions"]])


def _parameters(card: dict[str, Any]) -> str:
    known = {**card["parameters"], **card["structure"]}
    texts = (
        f"{name} = {value:.6g}" if isinstance(value, float) else f"{name} = {value}"
        for name, value in known.items()
    )
    return ", ".join(texts) or "none"


def _section(name: str) -> None:
    show.line()
    console = Console()
    if console.is_terminal:
        console.print(name, style="bold underline")
    else:
        show.line(name)
        show.line("-" * len(name))


def _task(card: dict[str, Any]) -> list[tuple[str, str]]:
    seen, unit = card["observation"], _time(card)
    where = f" on {', '.join(card['actuator'])}" if card["actuator"] else ""
    what = f"{seen['size']} numbers, {seen['dtype']}"
    what += f", {_names(seen['sensors'])} only" if seen["sensors"] else ""
    what += ", with rates" if seen["rates"] else ""
    what += f", noise {seen['noise']:g}" if seen["noise"] else ""
    what += f", {seen['delay']} steps late" if seen["delay"] else ""
    pairs = [
        (
            "push",
            f"{card['action_dim']} within ±{_numbers(card['push'])}{where}, "
            f"held for {card['control_interval']:g} {unit}",
        ),
        ("observation", what),
        ("target", _numbers(card["target"]) if card["target"] else "none"),
        ("reward", card["reward"]),
        ("per step", f"from {card['reward_worst']:.4g} to {card['reward_best']:.4g}"),
        (
            "escape",
            f"{card['escape']:g} half-ranges from the centre: at most {card['escape_reward']:.4g} at once",
        ),
        ("horizon", f"{card['steps']} steps = {card['steps'] * card['control_interval']:g} {unit}"),
    ]
    if card["process_noise"]:
        pairs.append(("process noise", f"{card['process_noise']:g}"))
    if card["levels"]:
        pairs.append(("push levels", str(card["levels"])))
    return pairs


def _chaos(card: dict[str, Any]) -> list[tuple[str, str]]:
    known = card["reference"]
    pairs = []
    if known is None:
        pairs.append(("exponents", "not known at these parameters; rl-lab probe lyapunov measures them"))
    else:
        pairs += [
            (f"exponents, {card['unit']}", _exponents(known)),
            ("95 % interval", _intervals(known["interval"])),
            ("source of these", known["source"]),
        ]
    if card["transient"]:
        pairs.append(
            ("transient", "this chaos ends by itself: the exponents are those of orbits still in it")
        )
    if card["hamiltonian"]:
        pairs.append(("conserved", "the uncontrolled flow keeps its energy, and its exponents depend on it"))
    if known is not None:
        pairs.append(
            (
                "Lyapunov time",
                "none" if card["lyapunov_time"] is None else f"{card['lyapunov_time']:.4g} {_time(card)}",
            )
        )
        if card["kaplan_yorke"] is not None:
            pairs.append(("Kaplan-Yorke dimension", f"{card['kaplan_yorke']:.4g} of {card['state_dim']}"))
        pairs += [
            ("horizon", f"{card['lyapunov_times']:.3g} Lyapunov times"),
            ("growth per control step", f"{card['growth_per_step']:.4g} nats"),
            *(
                (f"  at gamma {gamma}", _smooth(card["growth_per_step"], float(gamma), value))
                for gamma, value in card["holder"].items()
            ),
            ("", "(Hölder exponent of the value function without control, arXiv:2310.15418)"),
        ]
    for other in card["other_references"]:
        at = ", ".join(f"{name} = {value}" for name, value in other["at"].items()) or "the defaults"
        pairs.append((f"exponents at {at}", f"{_exponents(other)}  ({other['source']})"))
    return pairs


def _smooth(growth: float, gamma: float, exponent: float) -> str:
    """The Hölder exponent and the two numbers it comes from."""
    sign = "<" if growth < -log(gamma) else ">"
    smooth = "1: smooth" if exponent == 1 else f"{exponent:.2g}"
    return f"{growth:.4g} {sign} -log(gamma) = {-log(gamma):.4g}, Hölder exponent {smooth}"


def _exponents(known: dict[str, Any]) -> str:
    cells = [f"{value:.5g}" for value in known["exponents"]]
    errors = known["stderr"]
    if len(set(errors)) == 1:
        return f"{_cut(cells)}  (± {errors[0]:.2g})"
    return _cut([f"{cell} ± {error:.2g}" for cell, error in zip(cells, errors, strict=True)])


def _intervals(rows: Sequence[Sequence[float]]) -> str:
    return _cut([f"[{low:.5g}, {high:.5g}]" for low, high in rows], 4)


def _names(names: Sequence[str]) -> str:
    if len(names) <= MANY:
        return ", ".join(names)
    return f"{', '.join(names[:2])}, ..., {names[-1]} ({len(names)} of them)"


def _numbers(values: Any) -> str:
    return _cut([f"{value:.6g}" for value in values]) if isinstance(values, list | tuple) else f"{values:g}"


def _cut(cells: Sequence[str], most: int = MANY) -> str:
    return ", ".join(cells[:most]) + (f", ... ({len(cells)} of them)" if len(cells) > most else "")


def _time(card: dict[str, Any]) -> str:
    return "iterations" if card["kind"] == "map" else "time units"
