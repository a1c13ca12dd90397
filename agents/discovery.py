"""Finds the update rules by looking into agents/rules/, and says what is wrong with a file that is none."""

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from agents import rules
from agents.host import HostSettings
from agents.rule import FirstOrderRule, Rule
from agents.settings import settings_of


class BrokenRuleError(Exception):
    """A file in agents/rules/ breaks the contract of a rule."""


@dataclass(frozen=True)
class RuleFile:
    """One file in agents/rules/."""

    rule: type[Rule]
    summary: str
    """First line of the module's docstring."""
    formula: str
    """Docstring of the class, up to its source."""
    source: str


def find_rules() -> dict[str, RuleFile]:
    """Return all rules by name: the file name with `-` for `_`. Files that begin with `_` are left alone.

    BrokenRuleError: a file there is not a rule; the message names file and fault.
    """
    importlib.invalidate_caches()
    modules = (item.name for item in pkgutil.iter_modules(rules.__path__) if not item.name.startswith("_"))
    return {module.replace("_", "-"): _load(module) for module in modules}


def _load(module_name: str) -> RuleFile:
    try:
        module = importlib.import_module(f"{rules.__name__}.{module_name}")
        rule = _only_rule(module)
        _check_fields(rule)
        summary = (module.__doc__ or "").strip().partition("\n")[0]
        if not summary:
            raise TypeError("it has no module docstring, whose first line is the summary")
        return RuleFile(rule, summary, *_formula_and_source(rule))
    except Exception as error:  # whatever a file does wrong while it is imported, its name must be told
        fault = f"{type(error).__name__}: {error}" if not isinstance(error, TypeError) else str(error)
        message = f"agents/rules/{module_name}.py breaks the contract of a rule: {fault}"
        raise BrokenRuleError(message) from error


def _only_rule(module: ModuleType) -> type[Rule]:
    here = [
        member
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, Rule) and member.__module__ == module.__name__
    ]
    if len(here) != 1:
        raise TypeError(f"it must define one subclass of Rule, found {len(here)}")
    (rule,) = here
    if missing := sorted(rule.__abstractmethods__):
        raise TypeError(f"{rule.__name__} does not define {', '.join(missing)}")
    parameters: Any = vars(rule).get("__dataclass_params__")
    if parameters is None or not parameters.frozen:
        raise TypeError(f"{rule.__name__} must be decorated with @dataclass(frozen=True, kw_only=True)")
    if issubclass(rule, FirstOrderRule):
        _check_signature(rule)
    return rule


def _check_signature(rule: type[FirstOrderRule]) -> None:
    found = list(inspect.signature(rule.objective).parameters)
    expected = ["self", "ratio", "advantage", "kl"]
    if found[:4] != expected:
        raise TypeError(
            f"{rule.__name__}.objective takes ({', '.join(expected)}), found ({', '.join(found)})"
        )
    if unknown := [name for name in found[4:] if name not in rule().memory()]:
        raise TypeError(
            f"{rule.__name__}.objective takes {unknown[0]}, which is not in {rule.__name__}.memory()"
        )


def _check_fields(rule: type[Rule]) -> None:
    """A rule and the host share one list of settings, so no name may mean two things."""
    own, hosts = settings_of(rule), settings_of(HostSettings)
    if shared := sorted(own.keys() & hosts.keys()):
        raise TypeError(f"{rule.__name__}.{shared[0]} is a setting of the host; choose another name")
    defaults: Mapping[str, object] = rule.host_defaults
    if stray := sorted(defaults.keys() - hosts.keys()):
        raise TypeError(f"{rule.__name__}.host_defaults: {stray[0]} is not a setting of the host")


def _formula_and_source(rule: type[Rule]) -> tuple[str, str]:
    # A dataclass without a docstring is given its signature as one; that is no formula.
    written = inspect.cleandoc(rule.__doc__ or "")
    formula, mark, source = written.partition("Source:")
    if not mark or not formula.strip() or written.startswith(f"{rule.__name__}("):
        raise TypeError(f"{rule.__name__} needs a docstring: its formula, then a line 'Source: ...'")
    return formula.strip(), " ".join(source.split())
