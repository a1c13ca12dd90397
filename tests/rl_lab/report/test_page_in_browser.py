"""The page in a real browser, cut off from the network."""

import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=15000", "--window-size=1280,2000",
]  # fmt: skip


@pytest.fixture(scope="module")
def seen(built, tmp_path_factory):
    """The page after its scripts ran, and every address that it asked for."""
    if CHROMIUM is None:
        pytest.skip("no chromium on this machine: the page was not opened in a browser")
    folder = tmp_path_factory.mktemp("browser")
    log = folder / "net.json"
    command = [
        CHROMIUM,
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--log-net-log={log}",
        "--dump-dom",
    ]
    done = subprocess.run(
        [*command, built.page.resolve().as_uri()], capture_output=True, text=True, timeout=180, check=True
    )
    return done.stdout, _asked_by_page(json.loads(log.read_text()))


def _asked_by_page(log):
    """Requests that have an origin; what the browser asks for itself (updates, clock) has none."""
    kind = log["constants"]["logEventTypes"]["URL_REQUEST_START_JOB"]
    asked = [event.get("params", {}) for event in log["events"] if event["type"] == kind]
    return [p["url"] for p in asked if "url" in p and p.get("initiator") != "not an origin"]


def test_every_chart_is_drawn(seen):
    dom, _ = seen
    assert 'data-charts="6"' in dom
    assert 'class="chart failed' not in dom
    figures = re.findall(
        r'<div class="chart[^>]*id="([a-z]+)-\d"[^>]*>(.*?)<script type="application/json">', dom, re.S
    )
    assert [name for name, _ in figures] == ["learning"] * 2 + ["kl"] * 2 + ["rates"] * 2
    for name, drawn in figures:
        assert "<svg" in drawn
        assert f"mark-{'rule' if name == 'rates' else 'line'} role-mark" in drawn
        assert "mark-symbol role-mark" in drawn or name == "learning"
        assert "NaN" not in re.sub(r"<title>.*?</title>|aria-label=\"[^\"]*\"", "", drawn)
        for agent in ("ppo", "ppo-noclip", "trpo"):
            assert f">{agent}</text>" in drawn


def test_the_page_asks_the_network_for_nothing(seen):
    _, asked = seen
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []
