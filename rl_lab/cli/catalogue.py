"""envs and agents: what there is, and what each thing is."""

from pathlib import Path
from typing import Annotated, Any

import typer

from rl_lab.cli import show
from rl_lab.cli.agent_card import agent_card, print_agent_card
from rl_lab.cli.card import print_card
from rl_lab.cli.work import JsonOption
from rl_lab.errors import UserError

envs_app = typer.Typer(no_args_is_help=True, help="The worlds.\n\nExample:  rl-lab envs show chaos/Lorenz-v0")
agents_app = typer.Typer(no_args_is_help=True, help="The learners.\n\nExample:  rl-lab agents show trpo")
SetOption = Annotated[
    list[str] | None, typer.Option("--set", help="A setting of the task, key=value; repeatable.")
]


@envs_app.command("list")
def list_envs(as_json: JsonOption = False) -> int:
    """List the chaotic tasks; any other Gymnasium id works everywhere too.

    Example:  rl-lab envs list --json
    """
    envs = _envs()
    cards = [envs.summary(env_id) for env_id in envs.ids()]
    if as_json:
        show.document(cards)
        return 0
    rows = [
        (
            card["id"],
            card["kind"],
            str(card["state_dim"]),
            str(card["action_dim"]),
            card["goal"],
            f"{card['reference']['exponents'][0]:.4g}" if card["reference"] else "not known",
            f"{card['lyapunov_times']:.3g}" if card["lyapunov_times"] else "-",
        )
        for card in cards
    ]
    show.table(("id", "kind", "states", "actions", "goal", "exponent", "horizon (Lyapunov times)"), rows)
    return 0


@envs_app.command("show")
def show_env(
    env_id: Annotated[str, typer.Argument(metavar="ID", help="Gymnasium id.")],
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Print the card of a task: equations, parameters, push, reward, exponents.

    Example:  rl-lab envs show chaos/Lorenz-v0 --set rho=20
    """
    from rl_lab.study import tasks
    from rl_lab.study.plan import Env

    envs = _envs()
    settings = settings_from(set_)
    made = tasks.make(Env(env_id, env_id, settings))
    if envs.knows(env_id):
        card = envs.card(env_id, **settings)
        card["kaplan_yorke"] = _kaplan_yorke(card)
    else:
        card = {
            "id": env_id,
            "action_space": str(made.action_space),
            "observation_space": str(made.observation_space),
        }
        card["steps"] = made.spec.max_episode_steps if made.spec else None
    made.close()
    if as_json:
        show.document(card)
    elif envs.knows(env_id):
        print_card(card)
    else:
        show.facts(
            (key.replace("_", " "), _plain(value)) for key, value in card.items() if value not in (None, [])
        )
    return 0


@envs_app.command("plot")
def plot_env(
    env_id: Annotated[str, typer.Argument(metavar="ID", help="A chaotic task.")],
    set_: SetOption = None,
    out: Annotated[
        Path | None, typer.Option(help="The PNG; default: the task's name in the current directory.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Draws the starts.", min=0, max=2**31 - 1)] = 0,
    as_json: JsonOption = False,
) -> int:
    """Draw a task: attractor, an episode with and without control, neighbours that part and their rate.

    Example:  rl-lab envs plot chaos/Lorenz-v0 --set rho=35 --out lorenz35.png
    """
    from rl_lab.study import tasks

    settings = settings_from(set_)
    tasks.chaotic(env_id, settings)  # says so if there is none
    path = out or Path(f"{env_id.split('/')[-1].rpartition('-v')[0].lower()}.png")
    _refuse(path)
    from envs.task import resolve
    from rl_lab.report.portrait import draw, portrait
    from rl_lab.report.publish import png

    try:
        found = portrait(resolve(env_id, settings), seed)
        _write_new(path, png(draw(found)))
    except ValueError as error:
        raise UserError(str(error)) from error
    facts = {"id": env_id, "picture": str(path), **found.document()}
    if as_json:
        show.document(facts)
        return 0
    known = facts["reference"]
    rate = (
        "neighbours do not part far enough for a fit"
        if facts["rate"] is None
        else "{rate:.4g} ± {stderr:.2g} {unit}"
    )
    show.facts(
        [
            ("picture", str(path)),
            ("fitted rate", rate.format(**facts)),
            (
                "reference",
                f"{known['exponent']:.4g} ± {known['stderr']:.2g}" if known else "none at these parameters",
            ),
            ("control", facts["control"]),
            ("holds", "{caught} of {of} starts".format(**facts["held"]) if facts["held"] else "not tried"),
        ]
    )
    return 0


def _refuse(path: Path) -> None:
    """UserError where the picture cannot go; nothing on disk is ever overwritten."""
    if path.exists() or path.is_symlink():
        raise UserError(f"{path} is there already and is left as it is; choose another --out")
    if not path.parent.is_dir():
        raise UserError(f"{path}: there is no directory {path.parent}")


def _write_new(path: Path, content: bytes) -> None:
    try:
        with open(path, "xb") as file:
            file.write(content)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror}); choose another --out") from error


@envs_app.command("check")
def check_env(
    env_id: Annotated[
        str, typer.Argument(metavar="ID", help="Gymnasium id, also your own: your_pkg:YourEnv-v0.")
    ],
    set_: SetOption = None,
    as_json: JsonOption = False,
) -> int:
    """Check that a task keeps Gymnasium's contract and gives the same bits for the same seed.

    Example:  rl-lab envs check Pendulum-v1
    """
    from rl_lab.study import tasks
    from rl_lab.study.plan import Env

    settings = settings_from(set_)
    tasks.make(Env(env_id, env_id, settings)).close()
    checks = _envs().check(env_id, **settings)
    if as_json:
        show.document([{"name": c.name, "passed": c.passed, "sentence": c.sentence} for c in checks])
    else:
        show.table(("check", "", ""), [(c.name, "ok" if c.passed else "FAILED", c.sentence) for c in checks])
    return 0 if all(c.passed for c in checks) else 3


@agents_app.command("list")
def list_agents(as_json: JsonOption = False) -> int:
    """List the agents, what bounds their policy updates, and the actions they can take.

    Example:  rl-lab agents list
    """
    found = [
        {key: card[key] for key in ("name", "trust_region", "action_spaces", "summary", "source")}
        for card in map(agent_card, _agents().catalogue().values())
    ]
    if as_json:
        show.document(found)
    else:
        rows = [(a["name"], a["trust_region"], ", ".join(a["action_spaces"]), a["summary"]) for a in found]
        show.table(("name", "trust region", "actions", "summary"), rows)
    return 0


@agents_app.command("show")
def show_agent(
    name: Annotated[str, typer.Argument(help="Agent by name.")],
    as_json: JsonOption = False,
) -> int:
    """Print the card of an agent: formula, what bounds its step, source, and every setting with its range.

    Example:  rl-lab agents show ppo
    """
    from rl_lab.study.settings import fields_of

    fields_of(name)  # says so if there is no such agent
    card = agent_card(_agents().catalogue()[name])
    if as_json:
        show.document(card)
    else:
        print_agent_card(card)
    return 0


def _kaplan_yorke(card: dict[str, Any]) -> float | None:
    """Dimension of the attractor, where every exponent is published."""
    from rl_lab.probes.dimension import kaplan_yorke

    known = card["reference"]
    complete = known is not None and len(known["exponents"]) == card["state_dim"]
    return kaplan_yorke(known["exponents"]) if complete else None


def _envs() -> Any:
    from rl_lab.study.checkout import room

    return room("envs")


def _agents() -> Any:
    from rl_lab.study.checkout import room

    return room("agents")


def settings_from(texts: list[str] | None) -> dict[str, Any]:
    """The key=value pairs of --set."""
    from rl_lab.study.yaml import read_setting

    pairs = [read_setting(text) for text in texts or []]
    for n, (name, _) in enumerate(pairs):
        if name in [other for other, _ in pairs[:n]]:
            raise UserError(f"--set {name} is given twice")
    return dict(pairs)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, dict):
        return "\n".join(f"{key}: {_plain(item)}" for key, item in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(_plain(item) for item in value)
    return str(value).strip()
