"""The report as files: complete, self-contained, safe, and nothing else touched."""

import json
import os
import re
from html.parser import HTMLParser
from itertools import accumulate
from urllib.parse import unquote

import pytest

from rl_lab.errors import UserError
from rl_lab.report import build, document
from rl_lab.report.page.frame import script_json
from rl_lab.report.page.pack import packed

EVIL = "</script><script>alert('x')</script><img src=http://evil.example/a.png>"


class Page(HTMLParser):
    """Elements, script bodies and the visible text of a page."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.scripts, self.words, self._inside = [], [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        self._inside = None

    def handle_data(self, data):
        if self._inside == "script":
            self.scripts[-1] += data
        elif self._inside != "style":
            self.words.append(data)


@pytest.fixture(scope="module")
def page(built):
    return Page(built.page.read_text(encoding="utf-8"))


def test_all_files_are_there_and_pictures_are_pictures(built):
    assert sorted(p.name for p in built.page.parent.iterdir()) == [
        "collapse_rates.png", "index.html", "kl.png", "learning_curves.png", "overview.png", "survival.png",
    ]  # fmt: skip
    assert built.overview in built.pictures.values()
    for path in built.pictures.values():
        data = path.read_bytes()
        assert data.startswith(b"\x89PNG")
        assert int.from_bytes(data[16:20]) > 600, "width in pixels"


def test_the_page_loads_nothing_from_outside(page):
    loading = {"src", "srcset", "data", "poster", "background", "action"}
    for tag, attributes in page.elements:
        assert not loading & set(attributes), (tag, attributes)
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        assert not attributes.get("href", "#").startswith(("http", "//")), "W&B was offline"
    policy = next(
        a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy.startswith("default-src 'none'")


def test_the_bundle_is_in_the_page_once_and_the_page_is_about_its_size(page, built):
    assert sum("vegaEmbed=" in s.replace(" ", "") for s in page.scripts) == 1
    assert not any("<!--" in script for script in page.scripts), "it would swallow the end tag"
    assert built.page.stat().st_size < 1_500_000


def test_the_page_says_what_was_compared_and_found(page, built):
    text = " ".join(" ".join(page.words).split())
    for words in (
        "trust regions",
        "learning_rate 0.003",
        "clipping: 1 ± clip_range",
        "Clopper-Pearson",
        "0 of 2 [0",
    ):
        assert words in text
    for run in built.runs:
        assert run.run_id in text
    for sentence in built.findings:
        assert sentence in text


def test_there_is_a_chart_of_each_kind_for_each_task(page):
    places = [a["id"] for tag, a in page.elements if a.get("class") == "chart"]
    kinds = ("learning", "kl", "tails", "rates", "survival", "timeline", "multiples")
    expected = [f"{kind}-{task}" for kind in kinds for task in (0, 1)]
    assert sorted(places) == sorted([*expected, "profile-0"])
    specs = [json.loads(s) for s in page.scripts if "vega-lite/v6" in s and s.startswith("{")]
    assert len(specs) == 15
    assert {spec.get("width") for spec in specs if "layer" in spec} == {"container"}


def test_every_section_of_the_issue_is_there(page):
    sections = [a["id"] for tag, a in page.elements if tag == "section"]
    assert sections == [
        "findings", "summary", "learning", "kl", "collapses", "events", "risk", "together", "multiples", "compared",
        "method",
    ]  # fmt: skip
    linked = {a["href"][1:] for tag, a in page.elements if a.get("href", "").startswith("#")}
    assert linked <= set(sections)


def test_an_event_leads_to_its_incident_and_to_no_other_place(run_writer, tmp_path):
    """One is kept, one was thrown away since, one points out of the run, one is no name at all."""
    names = ["incidents/1-kl_spike", "incidents/2-kl_spike", "../../secret", {"x": 1}]
    events = [
        {
            "id": n,
            "event": "kl_spike",
            "update": n,
            "env_steps": n,
            "value": 9.0 - n,
            "details": {"incident": name},
        }
        for n, name in enumerate(names, 1)
    ]
    run = run_writer(
        tmp_path / "my study" / "runs", updates=[{"update": 1, "env_steps": 9, "kl_mean": 0.1}], events=events
    )
    for folder in (run / "incidents" / "1-kl_spike", tmp_path / "my study" / "secret"):
        folder.mkdir(parents=True)
        (folder / "incident.json").write_text("{}")
    built = build(tmp_path / "my study", tmp_path / "out")
    page = Page(built.page.read_text(encoding="utf-8"))
    way = "../my%20study/runs/chaos-Lorenz-v0-ppo-s0/incidents/1-kl_spike/"
    assert [a["href"] for tag, a in page.elements if "incidents" in a.get("href", "")] == [way]
    assert (built.page.parent / unquote(way) / "incident.json").is_file()
    spec = next(json.loads(s) for s in page.scripts if '"events of ' in s)
    column = spec["datasets"]["events of chaos/Lorenz-v0"]["columns"]["incident"]
    assert unpacked(spec["datasets"]["events of chaos/Lorenz-v0"])[0]["incident"] == way
    assert "secret" not in json.dumps(column)


def test_what_ran_names_the_machine_and_holds_the_whole_config(run_writer, tmp_path):
    study = tmp_path / "study"
    run_writer(study / "runs", machine={"platform": "Linux-6.1", "instructions": "AVX2", "torch_threads": 1})
    config = {"envs": [{"id": "chaos/Lorenz-v0"}], "steps": 77777}
    (study / "study.json").write_text(json.dumps({"name": "x", "hash": "f00d", "config": config}))
    text = " ".join(Page(build(study).page.read_text(encoding="utf-8")).words)
    for words in ("platform Linux-6.1, instructions AVX2", "x (f00d)", '"steps": 77777'):
        assert words in text


@pytest.mark.parametrize(
    "rows",
    [
        [{"a": 1, "b": "x"}, {"a": 2, "b": "x"}, {"a": 3, "b": None}],
        [{"a": True}, {"a": 1}, {"a": 1.0}, {"a": False}, {"a": 0}],
        [{"a": n, "b": n % 3, "c": 0.1 * n} for n in range(50)] + [{"a": 1, "d": []}],
        [{"a": 2**40}, {"a": -(2**40)}, {"a": 0}],
        [],
    ],
)
def test_packed_rows_come_back_as_they_were_to_six_digits(rows):
    back = unpacked(packed(rows))
    names = back[0] if back else ()
    assert [{k: (type(v), v) for k, v in row.items()} for row in back] == [
        {k: (type(row.get(k)), float(f"{v:.6g}") if isinstance(v := row.get(k), float) else v) for k in names}
        for row in rows
    ]
    assert [[type(v) for v in row.values()] for row in back] == [
        [type(row.get(name)) for name in back[0]] for row in rows
    ]


def test_a_thousand_updates_pack_into_three_numbers_and_a_word():
    rows = [{"run": "ppo-s0", "update": n} for n in range(1, 1001)]
    assert packed(rows)["columns"] == {"run": {"runs": [["ppo-s0", 1000]]}, "update": {"steps": [[1, 1000]]}}


def unpacked(found):
    """What page.js does, in Python."""
    rows = [{} for _ in range(found["n"])]
    for name, column in found["columns"].items():
        if isinstance(column, list):
            values = column
        else:
            values = [v for v, count in column.get("runs", column.get("steps")) for _ in range(count)]
            if "steps" in column:
                values = list(accumulate(values))
        for row, value in zip(rows, values, strict=True):
            row[name] = value
    return rows


def test_the_most_severe_events_come_first(page):
    names = [w for w in page.words if w in ("nonfinite", "performance_collapse", "kl_spike")]
    order = list(dict.fromkeys(names[names.index("nonfinite") :]))
    assert order == ["nonfinite", "performance_collapse", "kl_spike"]


def test_text_from_files_cannot_become_html(run_writer, tmp_path):
    study = tmp_path / "study"
    event = {
        "id": 1,
        "event": EVIL,
        "update": 1,
        "env_steps": 1,
        "value": 1.0,
        "threshold": None,
        "message": EVIL,
    }
    spike = {**event, "event": "kl_spike"}
    run_writer(
        study / "runs", run_id="a", status="failed", reason=EVIL, events=[event, spike],
        updates=[{"update": 1, "env_steps": 9, "kl_mean": 0.1, "kl_max": 1.0, "return_smooth": 1.0}],
        env_record={"id": EVIL, "settings": {EVIL: EVIL}},
        agent_record={"name": EVIL, "label": EVIL + "$title", "trust_region": EVIL, "settings": {EVIL: EVIL}},
        wandb={"id": EVIL, "url": "javascript:alert(1)"}, versions={EVIL: EVIL}, git={"revision": EVIL},
    )  # fmt: skip
    (study / "study.json").write_text(json.dumps({"name": EVIL}))
    text = build(study, tmp_path / "out").page.read_text(encoding="utf-8")
    page = Page(text)
    assert not [tag for tag, _ in page.elements if tag == "img"]
    assert "alert('x')" not in "".join(s for s in page.scripts if not s.startswith("{"))
    assert not any("javascript:" in a.get("href", "") for _, a in page.elements)
    assert len(page.scripts) == len(re.findall(r"<script", text.replace("<script>alert", "")))
    assert EVIL + "$title" in " ".join(page.words), "a dollar in a name stays a dollar"


def test_json_for_a_script_cannot_end_it():
    assert "<" not in script_json({"a": EVIL + "<!--"})
    assert json.loads(script_json({"a": EVIL})) == {"a": EVIL}


def test_a_web_address_becomes_a_link_and_is_not_loaded(run_writer, tmp_path):
    run_writer(tmp_path / "runs", wandb={"id": "abc", "url": "https://wandb.ai/x/y?a=1&b=2"})
    page = Page(build(tmp_path).page.read_text(encoding="utf-8"))
    (link,) = [a for tag, a in page.elements if a.get("href", "").startswith("http")]
    assert link == {"href": "https://wandb.ai/x/y?a=1&b=2", "rel": "noopener noreferrer"}


def test_building_again_replaces_its_files_and_touches_nothing_else(run_writer, tmp_path):
    run = run_writer(tmp_path / "runs", updates=[{"update": 1, "env_steps": 9, "kl_mean": 0.1}])
    before = {p: p.read_bytes() for p in run.iterdir()}
    first = build(tmp_path)
    (tmp_path / "report" / "notes.txt").write_text("mine")
    content = first.page.read_bytes()
    first.page.write_text("old")
    second = build(tmp_path)
    assert second.page.read_bytes() == content, "the same runs give the same page"
    assert (tmp_path / "report" / "notes.txt").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["report", "runs"]
    assert len(os.listdir(tmp_path / "report")) == 7, "no leftover temporary file"
    assert {p: p.read_bytes() for p in run.iterdir()} == before


def test_a_single_run_is_a_report_too(run_writer, tmp_path):
    run = run_writer(tmp_path, updates=[{"update": 1, "env_steps": 9, "kl_mean": 0.1, "return_smooth": 3.0}])
    report = build(run)
    assert report.page.parent == run / "report"
    assert report.arms[0].final_return_interval is None


def test_a_file_in_the_way_is_one_clear_sentence(study, tmp_path):
    (tmp_path / "taken").write_text("")
    with pytest.raises(UserError, match=r"taken: the report cannot be written there .*choose another --out"):
        build(study, tmp_path / "taken")


def test_a_study_without_runs_is_one_clear_sentence(tmp_path):
    (tmp_path / "study.json").write_text('{"schema": 1, "name": "x"}')
    with pytest.raises(UserError, match="no run has been started there yet"):
        build(tmp_path)
    assert not (tmp_path / "report").exists()


def test_the_document_is_plain_json(built):
    text = json.dumps(document(built), allow_nan=False)
    told = json.loads(text)
    assert {"page", "overview", "arms", "verdict", "findings", "survival", "risk", "scores", "runs"} <= set(
        told
    )
    alive = next(
        one for one in told["survival"] if (one["task"], one["agent"]) == ("Pendulum-v1", "ppo-noclip")
    )
    assert (alive["runs"], alive["collapsed"], alive["alive"][-1]) == (3, 3, 0.0)
    assert len(told["runs"]) == 18
    arm = next(a for a in told["arms"] if a["agent"] == "ppo-noclip")
    assert arm["collapse_interval"] == [pytest.approx(0.292, abs=1e-3), 1.0]
    assert {run["status"] for run in told["runs"]} == {"done", "diverged", "failed", "running"}
