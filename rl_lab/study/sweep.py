"""A study as a W&B sweep, for those who let a W&B server deal out its runs; and one run of it, as an agent asks for it.

W&B's grid is a full product, so its parameters are task, arm and seed by their labels, and each agent's process reads
the rest from the study's own file: settings, steps and guards are the same as under `rl-lab study`.
Source of the format: docs.wandb.ai, "Sweep configuration structure".
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from rl_lab.errors import UserError, did_you_mean
from rl_lab.monitor.record.wandb_run import PROJECT
from rl_lab.study.plan import RunPlan, Study
from rl_lab.study.settings import refuse_unknown

METRIC = {
    "return_final": ("return_final", "maximize"),
    "collapse": ("events/performance_collapse", "minimize"),
    "time_to_collapse": ("events/performance_collapse", "minimize"),
    "kl_spikes": ("events/kl_spike", "minimize"),
}
"""By primary outcome the entry of the W&B summary that says most of it, and which way is better."""
HEAD = """\
# The runs of {config} as a W&B sweep, written by `rl-lab study {config} --write-sweep`.
#   wandb sweep {file}
# registers it and says which agent to start: one per core, on any machine with this checkout. Agents look for
# {config} from the folder in which they are started.
"""


def sweep_document(study: Study, config: Path, texts: Sequence[str] = ()) -> dict[str, Any]:
    """The sweep: one run for every task, arm and seed. texts: what stands behind `--set`.

    UserError: the study leaves agents out of tasks, which a W&B grid cannot.
    """
    if study.without:
        task = next(iter(study.without))
        raise UserError(
            f"{config}: a W&B grid has every arm in every task, and {task} is without"
            f" {', '.join(study.without[task])}; write one study for the tasks that have the same agents"
        )
    name, goal = METRIC[study.primary]
    overrides = [word for text in texts for word in ("--set", text)]
    return {
        "name": study.name,
        "project": PROJECT,
        "description": f"{study.size()['runs']} runs of {config}, hash {study.hash()}",
        "program": "rl-lab",
        "method": "grid",
        "metric": {"name": name, "goal": goal},
        "parameters": {
            "task": {"values": [env.label for env in study.envs]},
            "arm": {"values": [agent.label for agent in study.agents]},
            "seed": {"values": list(study.seeds)},
        },
        "command": [
            "${env}", "rl-lab", "run-one", str(config), "--wandb", "online", *overrides, "${args_no_hyphens}",
        ],
    }  # fmt: skip


def write_sweep(study: Study, path: Path, config: Path, texts: Sequence[str] = ()) -> None:
    """Write the sweep into a new file; one that is there is not overwritten."""
    document = sweep_document(study, config, texts)
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(HEAD.format(config=config, file=path))
            yaml.safe_dump(document, file, sort_keys=False, allow_unicode=True)
    except FileExistsError as error:
        raise UserError(
            f"{path} is there already; nothing was changed, choose another --write-sweep"
        ) from error
    except OSError as error:
        raise UserError(
            f"{path}: cannot be written ({error.strerror}); choose another --write-sweep"
        ) from error


def pick(study: Study, texts: Sequence[str], where: str) -> RunPlan:
    """The run that `task=LABEL`, `arm=LABEL` and `seed=NUMBER` name, in any order.

    UserError: one of the three is missing, there twice, or not in the study.
    """
    given: dict[str, str] = {}
    known = {
        "task": [env.label for env in study.envs],
        "arm": [agent.label for agent in study.agents],
        "seed": [str(seed) for seed in study.seeds],
    }
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals:
            raise UserError(f"{text}: must have the form key=value, for example seed=0")
        refuse_unknown([key], known, "", "key", "a run")
        if key in given:
            raise UserError(f"{key} is given twice; keep one")
        if value not in known[key]:
            near, shown = did_you_mean(value, known[key]), ", ".join(known[key][:20])
            more = ", ..." if len(known[key]) > 20 else ""
            raise UserError(f"{where}: there is no {key} {value}.{near} (there are: {shown}{more})")
        given[key] = value
    for key in known:
        if key not in given:
            raise UserError(f"{key} is missing; a run is named by task=LABEL arm=LABEL seed=NUMBER")
    for run in study.runs():
        if (run.env.label, run.agent.label, str(run.seed)) == (given["task"], given["arm"], given["seed"]):
            return run
    raise UserError(f"{where}: {given['arm']} is left out of {given['task']} by this study")
