"""The long files begin first, so that at the end no worker is left alone with one."""

from pathlib import Path

LONG = (
    "rl_lab/cli/test_study_command.py",
    "test_examples.py",
    "rl_lab/probes/test_catalogue.py",
    "rl_lab/monitor/test_on_every_algorithm.py",
    "test_one_file_is_enough.py",
    "rl_lab/cli/test_cli.py",
    "rl_lab/monitor/test_wandb_run.py",
    "rl_lab/monitor/test_journey.py",
    "agents/test_host.py",
    "envs/test_every_task.py",
    "envs/test_cache.py",
    "agents/test_parity_with_sb3.py",
    "agents/test_stabilisers.py",
)
"""Files of more than about 12 s of one core, the longest first."""
RANK = {Path(__file__).parent / name: rank for rank, name in enumerate(LONG)}


def pytest_collection_modifyitems(items):
    """The order of the tests within a file stays."""
    items.sort(key=lambda item: RANK.get(item.path, len(RANK)))
