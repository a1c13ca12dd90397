"""Reading YAML and `key=value` with the numbers people write."""

import re
from pathlib import Path
from typing import Any

import yaml

from rl_lab.errors import UserError


class _Loader(yaml.SafeLoader):
    """Safe YAML that also reads 1e-3 as a number (YAML 1.1 wants 1.0e-3) and refuses a key given twice."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(\d[\d_]*(\.[\d_]*)?|\.\d[\d_]*)[eE][-+]?\d+$"),
    list("-+0123456789."),
)


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    merge = "tag:yaml.org,2002:merge"
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value if key.tag != merge]
    for key in keys:
        if keys.count(key) > 1:
            line = node.start_mark.line + 1
            raise UserError(f"the key {key} stands twice in the mapping that begins in line {line}; keep one")
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def read_mapping(path: Path, keys: str = "envs, agents, seeds and steps") -> dict[str, Any]:
    """The mapping in a YAML file; `keys` says what it should hold if it is none."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not a text file in UTF-8") from error
    try:
        content = yaml.load(text, _Loader)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that cannot be
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}{where}: is not valid YAML ({getattr(error, 'problem', error)})") from error
    if not isinstance(content, dict):
        raise UserError(f"{path}: must be a mapping with the keys {keys}")
    return content


def read_setting(text: str) -> tuple[str, Any]:
    """`key=value` of --set, the value read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise UserError(f"--set {text}: must have the form key=value, for example --set learning_rate=1e-3")
    return key.strip(), read_value(value, f"--set {text}")


def read_value(text: str, where: str) -> Any:
    """A value on the command line, read as YAML; `where` opens the message."""
    try:
        return yaml.load(text, _Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise UserError(f"{where}: the value cannot be read ({getattr(error, 'problem', error)})") from error
