"""Mistakes of the user's, told in one sentence."""

from collections.abc import Iterable
from difflib import get_close_matches


class UserError(Exception):
    """The input is wrong: the message names the place, the value, what is allowed and the nearest valid name.

    The command line prints it alone and ends with exit code 2.
    """


def one_line(error: BaseException) -> str:
    """'ValueError: the first line of what it says', or its kind alone where it says nothing."""
    said = str(error).strip()
    return f"{type(error).__name__}: {said.splitlines()[0]}" if said else type(error).__name__


def did_you_mean(given: str, allowed: Iterable[str]) -> str:
    """' Did you mean x?' for the nearest allowed name, or nothing if none is near. Starts with a space."""
    names = {name.lower(): name for name in allowed}
    near = get_close_matches(given.lower(), names, n=1, cutoff=0.5)
    return f" Did you mean {names[near[0]]}?" if near else ""
