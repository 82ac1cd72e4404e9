"""Grafana's dashboards at a real Prometheus that scrapes a real server under load: every query of the community's board
and of our own, and every selector of the rules, finds data.

What Grafana does to a query, its variables and intervals, is done here as Grafana does it (`fill`).
"""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
import redis
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import units
from grafana_foundation_sdk.models.dashboard import Dashboard

from mpkv import cli
from mpkv.metrics.grafana import board
from mpkv.metrics.grafana.export import BOARD, RULES
from mpkv.testing import Server
from tests.helpers.reference import free_port
from tests.helpers.running import leaving_nothing

COMMUNITY = Path(__file__).parent / "dashboard_763" / "dashboard.json"

#: Prometheus needs a few scrapes for a rate; a scrape is every second.
SCRAPES = 6
SOON_S = 60.0
#: What Grafana makes of a zoom of a few seconds.
INTERVALS = {"__interval": "2s", "__rate_interval": "10s", "__range": "10s"}
GRID_WIDTH = 24


# -- a dashboard -------------------------------------------------------------------------------------------------------


class Target(NamedTuple):
    """One query of a panel."""

    name: str
    expression: str
    legend: str
    instant: bool


def panels_of(file: Path) -> list[dict[str, Any]]:
    """All panels, those within rows too."""
    panels = json.loads(file.read_text())["panels"]
    return [inner for panel in panels for inner in (panel, *panel.get("panels", ()))]


def targets_of(file: Path) -> list[Target]:
    return [
        Target(
            f"{panel['title']}, {target['refId']}",
            target["expr"],
            target.get("legendFormat", ""),
            bool(target.get("instant")),
        )
        for panel in panels_of(file)
        for target in panel.get("targets", ())
    ]


def fill(expression: str, values: dict[str, str]) -> str:
    """A query with its variables; one that has no value stays, and Prometheus refuses it."""
    names = {**values, **INTERVALS}
    return re.sub(r"\$\{?(\w+)\}?", lambda found: names.get(found[1], found[0]), expression)


def several(values: list[str]) -> str:
    """As a variable that may have several values is filled in: as a regular expression, in a string of PromQL."""
    escaped = [re.sub(r"([\\^$.*+?()[\]{}|])", r"\\\\\1", value) for value in values]
    return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"


# -- a Prometheus and a server -----------------------------------------------------------------------------------------


@dataclass
class Prometheus:
    port: int
    metrics_port: int
    server: Server = field(init=False)  #: whose metrics it scrapes
    end_load: Callable[[], None] = field(init=False)

    @property
    def instance(self) -> str:
        return f"127.0.0.1:{self.metrics_port}"

    def get(self, path: str, **parameters: str) -> Any:
        with urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}?{urlencode(parameters)}", timeout=20) as answer:
            body = json.load(answer)
        assert body["status"] == "success", body
        return body["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        """Series, each with ``metric`` and ``values``, as they are now."""
        data = self.get("query", query=expression)
        return [{**series, "values": [series["value"]]} for series in data["result"]]

    def query_range(self, expression: str) -> list[dict[str, Any]]:
        """The same over the last seconds."""
        now = time.time()
        found = self.get("query_range", query=expression, start=str(now - 5), end=str(now), step="1s")["result"]
        return list(found)

    def label_values(self, label: str, selector: str) -> list[str]:
        return list(self.get(f"label/{label}/values", **{"match[]": selector}))


def numbers(series: list[dict[str, Any]]) -> list[float]:
    return [float(value) for one in series for _, value in one["values"]]


@contextmanager
def prometheus(folder: Path, metrics_port: int) -> Iterator[Prometheus]:
    """Scrapes a server twice: as the job ``mpkv``, and as one whose targets have a namespace, as in Kubernetes."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("Prometheus is not installed: Debian has it in the package prometheus")
    targets = [f"127.0.0.1:{metrics_port}"]
    config = folder / "prometheus.yml"
    # JSON is YAML too
    config.write_text(
        json.dumps(
            {
                "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
                "rule_files": [str(RULES)],
                "scrape_configs": [
                    {"job_name": "mpkv", "static_configs": [{"targets": targets}]},
                    {"job_name": "spaced", "static_configs": [{"targets": targets, "labels": {"namespace": "shop"}}]},
                ],
            }
        )
    )
    port = free_port()
    command = [
        program, f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn",
        f"--web.listen-address=127.0.0.1:{port}",
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        made = Prometheus(port, metrics_port)
        until(lambda: enough_scrapes(made, process, folder / "log"))
        yield made
    finally:
        process.terminate()
        process.wait(SOON_S)


def enough_scrapes(made: Prometheus, process: subprocess.Popen[bytes], log: Path) -> bool:
    assert process.poll() is None, log.read_text()
    try:
        scraped = made.query("count_over_time(redis_up[1m])")
    except (URLError, ConnectionError):
        return False  # it does not listen yet
    return len(scraped) == 2 and all(number >= SCRAPES for number in numbers(scraped))


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + SOON_S
    while not condition():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.1)


def mixed_load(server: Server, stop: threading.Event) -> None:
    """Something of everything that the boards show, round by round until it is told to stop."""
    with redis.Redis.from_url(server.url) as client, redis.Redis(port=server.port, db=1) as other:
        for turn in itertools.count():
            if stop.is_set():
                return
            with client.pipeline(transaction=False) as pipeline:
                for index in range(20):
                    pipeline.set(f"key:{index}", "v" * (turn % 50)).get(f"key:{index}").get(f"none:{index}")
                    pipeline.incr("count").lpush(f"list:{index % 3}", turn).rpop(f"list:{index % 3}")
                    pipeline.hset(f"hash:{index % 5}", "field", turn).zadd(f"scores:{index % 5}", {"member": turn})
                pipeline.execute()
            client.mset({f"key:{index}": turn for index in range(10)})
            client.mget([f"key:{index}" for index in range(10)])
            client.set(f"brief:{turn % 10}", 1, px=50)
            other.set(f"elsewhere:{turn % 10}", 1, ex=100)
            with suppress(redis.ResponseError):
                client.lpush("key:1", "x")
            if turn % 20 == 0:
                with suppress(redis.ResponseError):  # one may be under way
                    client.bgsave()
            time.sleep(0.02)


@contextmanager
def loaded(server: Server) -> Iterator[Callable[[], None]]:
    """Run the load, and a client that waits in BLPOP, while the block runs; gives what ends it before."""
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            mixed_load(server, stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    waiter = redis.Redis.from_url(server.url, single_connection_client=True)
    waiter.connection.send_command("BLPOP", "nothing", 0)  # type: ignore[union-attr]

    def end() -> None:
        stop.set()
        thread.join(SOON_S)
        waiter.close()
        assert not failed, failed

    thread.start()
    try:
        yield end
    finally:
        end()


#: Some rules look at nothing else.
CACHE = {"maxmemory": "1gb", "maxmemory_policy": "allkeys-lru"}


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped two shards under load, which goes on."""
    port = free_port()
    folder = tmp_path_factory.mktemp("prometheus")
    with (
        leaving_nothing(2, metrics_port=port, slowlog_log_slower_than=50, **CACHE) as server,
        loaded(server) as end_load,
        prometheus(folder, port) as made,
    ):
        made.server, made.end_load = server, end_load
        yield made


# -- every query finds data --------------------------------------------------------------------------------------------


def check(scraped: Prometheus, target: Target, values: dict[str, str]) -> list[float]:
    """What a target's query finds, as Grafana asks; fails on none, on only NaN, and on a legend without its labels."""
    expression = fill(target.expression, values)
    series = scraped.query(expression) if target.instant else scraped.query_range(expression)
    assert series, f"no data: {expression}"
    found = numbers(series)
    assert not all(map(math.isnan, found)), f"only NaN: {expression}"
    for label in re.findall(r"\{\{\s*(\w+)\s*\}\}", target.legend):
        # The community's board names some lines by labels that they never have
        if label not in ("input", "output"):
            assert all(label in one["metric"] for one in series), f"no label {label}: {expression}"
    return found


def community_values(scraped: Prometheus, namespace: str) -> dict[str, str]:
    """As Grafana fills the variables in: what it is told by label_values, the first that there is."""
    instances = scraped.label_values("instance", f'redis_up{{namespace=~"{namespace}"}}')
    return {"namespace": namespace, "instance": several(instances)}


@pytest.mark.parametrize("namespace", ["", "shop"])
@pytest.mark.parametrize("target", targets_of(COMMUNITY), ids=lambda target: target.name)
def test_every_query_of_the_communitys_board_finds_data(scraped: Prometheus, target: Target, namespace: str) -> None:
    found = check(scraped, target, community_values(scraped, namespace))
    assert all(math.isfinite(number) or math.isnan(number) for number in found)


def test_the_variables_of_the_communitys_board_have_values(scraped: Prometheus) -> None:
    assert scraped.label_values("namespace", "redis_up") == ["shop"]
    assert scraped.label_values("instance", 'redis_up{namespace=~"shop"}') == [scraped.instance]


CHOICES = {
    "all": {"shard": ".*", "cmd": ".*"},
    "some": {"shard": several(["0", "1"]), "cmd": several(["get", "lpush", "set"])},
}


def own_values(scraped: Prometheus, chosen: str = "all") -> dict[str, str]:
    return {"job": "mpkv", "instance": scraped.instance, **CHOICES[chosen]}


@pytest.mark.parametrize("chosen", CHOICES)
@pytest.mark.parametrize("target", targets_of(BOARD), ids=lambda target: target.name)
def test_every_query_of_our_board_finds_data(scraped: Prometheus, target: Target, chosen: str) -> None:
    check(scraped, target, own_values(scraped, chosen))


def test_the_variables_of_our_board_have_values(scraped: Prometheus) -> None:
    values = own_values(scraped)
    offered = {}
    for variable in json.loads(BOARD.read_text())["templating"]["list"]:
        if variable["type"] == "query":
            selector, label = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["query"]).groups()  # type: ignore[union-attr]
            offered[variable["name"]] = scraped.label_values(label, fill(selector, values))
    assert offered["job"] == ["mpkv", "spaced"]
    assert offered["instance"] == [scraped.instance]
    assert offered["shard"] == ["0", "1"]
    assert {"get", "set", "mset"} <= set(offered["cmd"])


def test_a_query_of_what_is_not_there_is_found_out(scraped: Prometheus) -> None:
    with pytest.raises(AssertionError, match="no data"):
        check(scraped, Target("", "redis_no_such_metric", "", instant=False), {})
    with pytest.raises(AssertionError, match="only NaN"):
        check(scraped, Target("", "0 * redis_up / 0", "", instant=False), {})
    with pytest.raises(AssertionError, match="no label"):
        check(scraped, Target("", "redis_up", "{{shard}}", instant=False), {})


# -- rules -------------------------------------------------------------------------------------------------------------

#: What may stand in a rule beside selectors.
WORDS = {
    "absent", "and", "avg_over_time", "by", "delta", "histogram_quantile", "increase", "min_over_time", "on", "or",
    "rate", "sum", "time", "unless",
}  # fmt: skip


def selectors_of(expression: str) -> set[str]:
    """Every vector selector of an expression; they all have labels in braces here."""
    found = set(re.findall(r"[a-z_:][\w:]*\{[^}]*\}", expression))
    rest = re.sub(r"[a-z_:][\w:]*\{[^}]*\}", "", expression)
    rest = re.sub(r"\b(?:by|on)\s*\([^)]*\)|\[\w+\]|\d[\d.e]*", "", rest)
    assert set(re.findall(r"[A-Za-z_]\w*", rest)) <= WORDS, f"a selector without labels: {expression}"
    return found


def rules_of(scraped: Prometheus) -> list[dict[str, Any]]:
    return [rule for group in scraped.get("rules")["groups"] for rule in group["rules"]]


def test_every_selector_of_the_rules_finds_data(scraped: Prometheus) -> None:
    selectors = {selector for rule in rules_of(scraped) for selector in selectors_of(rule["query"])}
    assert len(selectors) > 30
    assert not [selector for selector in sorted(selectors) if not scraped.query(selector)]


def test_every_recording_rule_gives_numbers(scraped: Prometheus) -> None:
    recorded = {rule["name"] for rule in rules_of(scraped) if rule["type"] == "recording"}
    assert len(recorded) == RULES.read_text().count("- record: ")
    for name in sorted(recorded):
        found = numbers(scraped.query(name))
        assert found, name
        assert any(map(math.isfinite, found)), name


def test_rules_are_evaluated_without_an_error(scraped: Prometheus) -> None:
    assert not {rule["name"]: rule["lastError"] for rule in rules_of(scraped) if rule.get("lastError")}


#: The load writes into the slow log and makes errors all the time, so that the board has something to show.
PROVOKED = {"MpkvSlowCommands", "MpkvErrorReplies"}
#: A busy machine may be slow for a moment.
OF_THE_MACHINE = {"MpkvLatencyHigh", "MpkvQueueWaitLong", "MpkvProcessBusy", "MpkvForkSlow"}


def test_a_server_that_is_well_raises_no_alert(scraped: Prometheus) -> None:
    raised = {alert["labels"]["alertname"] for alert in scraped.get("alerts")["alerts"]}
    assert not raised - PROVOKED - OF_THE_MACHINE


# -- of another server than the one that is well -----------------------------------------------------------------------


def test_without_maxmemory_our_board_takes_the_machines_memory(scraped: Prometheus) -> None:
    """And the community's divides by 0."""
    [theirs] = [target for target in targets_of(COMMUNITY) if target.name == "Memory Usage, A"]
    [ours] = [target for target in targets_of(BOARD) if target.name == "Memory, A" and target.instant]
    with redis.Redis.from_url(scraped.server.url) as client:
        client.config_set("maxmemory", 0)
        until(lambda: set(numbers(scraped.query("redis_memory_max_bytes"))) == {0})
        filled = fill(theirs.expression, community_values(scraped, ""))
        assert numbers(scraped.query(filled)) == [math.inf]
        assert all(0 < number < 1 for number in check(scraped, ours, own_values(scraped)))
        client.config_set("maxmemory", "1gb")


def test_the_death_of_a_worker_raises_its_alert(scraped: Prometheus) -> None:
    """The last test of this server."""
    scraped.end_load()
    os.kill(scraped.server.processes()["worker 1"], signal.SIGKILL)

    def shards() -> set[str]:
        raised = [alert["labels"] for alert in scraped.get("alerts")["alerts"]]
        return {labels["shard"] for labels in raised if labels["alertname"] == "MpkvShardLostWrites"}

    until(lambda: bool(shards()))
    assert shards() == {"1"}


# -- the board itself --------------------------------------------------------------------------------------------------


def test_the_shipped_board_is_what_the_generator_makes() -> None:
    assert BOARD.read_text() == board.text(), "call make dashboards"


def test_the_board_is_what_grafanas_types_say() -> None:
    data = json.loads(BOARD.read_text())
    assert json.loads(json.dumps(Dashboard.from_json(data), cls=JSONEncoder)) == data


def test_panels_fill_the_grid_and_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    height = 0
    for panel in panels_of(BOARD):
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x, y in itertools.product(range(place["w"]), range(place["h"]))}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= GRID_WIDTH, panel["title"]
        taken |= cells
        height = max(height, place["y"] + place["h"])
    assert len(taken) == GRID_WIDTH * height, "there are holes"


def test_every_panel_has_a_title_a_description_and_a_unit_that_grafana_knows() -> None:
    known = {value for name, value in vars(units).items() if isinstance(value, str) and not name.startswith("_")}
    panels = panels_of(BOARD)
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        if panel["type"] != "row":
            assert panel["title"]
            assert len(panel["description"]) > 10, panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"] in known, panel["title"]
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


def test_every_variable_of_a_query_is_defined() -> None:
    defined = {variable["name"] for variable in json.loads(BOARD.read_text())["templating"]["list"]}
    used = {name for target in targets_of(BOARD) for name in re.findall(r"\$\{?(\w+)", target.expression)}
    assert used - set(INTERVALS) == defined - {"datasource"}
    assert not [target for target in targets_of(BOARD) if "@" in target.expression]


# -- mpkv dashboards export --------------------------------------------------------------------------------------------


def test_export_writes_the_board_and_the_rules(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "new" / "folder"
    assert cli.main(["dashboards", "export", "--folder", str(folder)]) == 0
    assert capsys.readouterr().out.splitlines() == [str(folder / "mpkv.json"), str(folder / "mpkv.yml")]
    assert (folder / "mpkv.json").read_bytes() == BOARD.read_bytes()
    assert (folder / "mpkv.yml").read_bytes() == RULES.read_bytes()
    assert (folder / "mpkv.json").stat().st_mode & 0o777 == 0o644


def test_export_without_a_folder_writes_into_this_one_over_older_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mpkv.json").write_text("old")
    assert cli.main(["dashboards", "export"]) == 0
    assert Path("mpkv.json").read_bytes() == BOARD.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mpkv.json", "mpkv.yml"]


def test_export_into_what_is_no_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    assert cli.main(["dashboards", "export", "--folder", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"mpkv dashboards: {tmp_path / 'file'}: File exists\n"


@pytest.mark.parametrize("words", [[], ["import"], ["export", "--folder"], ["export", "here"]])
def test_other_words_are_answered_with_the_usage(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dashboards", *words]) == 2
    assert "usage: mpkv" in capsys.readouterr().err


def test_export_needs_no_typed_library(tmp_path: Path) -> None:
    """The server's installation has none."""
    hidden = "import sys; sys.modules['grafana_foundation_sdk'] = None; "
    export = "from mpkv import cli; sys.exit(cli.main(['dashboards', 'export', '--folder', sys.argv[1]]))"
    subprocess.run([sys.executable, "-c", hidden + export, str(tmp_path)], check=True, timeout=60)
