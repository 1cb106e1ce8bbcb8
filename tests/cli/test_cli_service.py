"""`driftmoe serve`, `feed`, `replay` and `store`, as people use them."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
import urllib.request

import pytest
from commands import driftmoe, started

SPEC = "moe-data(n_experts=3, hidden=(6,), batch_size=16)"


def samples(n, start=0):
    return [{"features": {"x": i % 7, "colour": "ab"[i % 2]}, "label": "yes" if i % 7 > 3 else "no"}
            for i in range(start, start + n)]  # fmt: skip


def written(path, events):
    path.write_text("".join(json.dumps(event) + "\n" for event in events))
    return path


def served(folder, *arguments):
    """Start a server on a free port, and return it with its address."""
    process = started(
        "-m", "driftmoe.cli", "serve", "--store", "store", "--port", "0", *arguments, cwd=folder
    )
    until = time.monotonic() + 60
    while not (found := re.search(r"serving at (\S+);", process.stderr)):
        assert process.returncode is None, process.stderr
        assert time.monotonic() < until, process.stderr
        time.sleep(0.05)
    return process, found[1]


def asked(url):
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def test_a_feed_goes_on_through_a_kill_of_the_server(tmp_path):
    written(tmp_path / "events.jsonl", samples(3_000))
    server, url = served(tmp_path, "--model", SPEC)
    port = url.rsplit(":", 1)[1]
    options = ["--delay", "50", "--batch", "20", "--rate", "1000"]  # it goes on for seconds after the kill
    feeder = started("-m", "driftmoe.cli", "feed", url, "events.jsonl", *options, cwd=tmp_path)
    while asked(f"{url}/api/stats")["counts"].get("learnt", 0) < 500:
        time.sleep(0.02)
    server.kill()
    server.wait()
    assert feeder.returncode is None
    again = started("-m", "driftmoe.cli", "serve", "--store", "store", "--port", port, cwd=tmp_path)
    assert feeder.wait() == 0, feeder.stderr
    assert "3,000 samples sent" in feeder.stdout
    counts = asked(f"{url}/api/stats")["counts"]
    (model,) = asked(f"{url}/api/models")["models"]
    again.send_signal(signal.SIGTERM)
    assert again.wait() == 0, again.stderr
    assert (counts["learnt"], model["n_learnt"]) == (3_000, 3_000)
    written(tmp_path / "log.jsonl", in_order(samples(3_000), 50))
    replayed = driftmoe("replay", "log.jsonl", "--store", "alone", "--model", SPEC, cwd=tmp_path)
    assert replayed.returncode == 0, replayed.stderr
    shown = driftmoe("store", "show", "alone", cwd=tmp_path).stdout
    assert "learnt                              3,000" in shown
    assert model["digest"] == digest_in(tmp_path / "alone")


def in_order(events, delay):
    """Return events as `feed --delay` sends them."""
    log = []
    for i, event in enumerate(events):
        log.append({"id": f"feed-{i}", "features": event["features"]})
        if i >= delay:
            log.append({"id": f"feed-{i - delay}", "label": events[i - delay]["label"]})
    return log + [
        {"id": f"feed-{i}", "label": events[i]["label"]} for i in range(len(events) - delay, len(events))
    ]


def digest_in(folder):
    from driftmoe import saving
    from driftmoe.service import Store

    store = Store(folder)
    ((content,),) = store.read("SELECT content FROM models")
    store.close()
    return saving.digest(saving.from_bytes(content))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_worker_without_http(number, tmp_path):
    log = written(tmp_path / "events.jsonl", samples(100))
    arguments = (
        "--store",
        "store",
        "--model",
        SPEC,
        "--source",
        log.name,
        "--no-http",
        "--sink",
        "out/said.jsonl",
    )
    process = started("-m", "driftmoe.cli", "serve", *arguments, cwd=tmp_path)
    said = tmp_path / "out" / "said.jsonl"
    until = time.monotonic() + 60
    while not (said.exists() and len(said.read_text().splitlines()) >= 100):
        assert time.monotonic() < until, process.stderr
        time.sleep(0.05)
    process.send_signal(number)
    assert process.wait() == 0, process.stderr
    messages = [json.loads(line) for line in said.read_text().splitlines()]
    (first, *_) = [one for one in messages if one["kind"] == "prediction"]
    assert first.keys() == {"kind", "id", "key", "label", "probabilities"}


def test_a_log_is_replayed_once_and_in_the_order_of_time_if_asked(tmp_path):
    events = [event | {"id": f"{i}", "time": 1_000 - i} for i, event in enumerate(samples(200))]
    written(tmp_path / "log.jsonl", events)
    first = driftmoe("replay", "log.jsonl", "--store", "a", "--model", SPEC, cwd=tmp_path)
    assert (first.returncode, first.stdout.split()[0]) == (0, "200"), first.stderr
    second = driftmoe("replay", "log.jsonl", "--store", "a", cwd=tmp_path)
    assert second.stdout.split()[0] == "0"
    backwards = written(tmp_path / "backwards.jsonl", events[::-1])
    for log, store in (("log.jsonl", "b"), (backwards.name, "c")):
        by_time = driftmoe(
            "replay",
            log,
            "--store",
            store,
            "--model",
            SPEC,
            "--order",
            "time",
            "--lateness",
            "1h",
            cwd=tmp_path,
        )
        assert by_time.returncode == 0, by_time.stderr
    assert digest_in(tmp_path / "b") == digest_in(tmp_path / "c") != digest_in(tmp_path / "a")


def test_a_store_is_shown_copied_and_compacted(tmp_path):
    events = [*samples(50), {"id": "w", "features": {"x": 1}}, {"id": "e", "label": "no"}, {"nonsense": 1}]
    written(tmp_path / "log.jsonl", events)
    assert driftmoe("replay", "log.jsonl", "--store", "store", "--model", SPEC, cwd=tmp_path).returncode == 0
    shown = driftmoe("store", "show", "store", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert "waiting    1 samples, 1 labels" in shown.stdout
    assert "is no field of an event" in shown.stdout
    assert max(map(len, shown.stdout.splitlines()[1:])) <= 200
    assert driftmoe("store", "export", "store", "copy", cwd=tmp_path).returncode == 0
    again = driftmoe("store", "export", "store", "copy", cwd=tmp_path)
    assert (again.returncode, "exists" in again.stderr) == (2, True)
    assert driftmoe("store", "compact", "copy", cwd=tmp_path).returncode == 0
    assert digest_in(tmp_path / "copy") == digest_in(tmp_path / "store")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("serve", "--store", "s", "--no-http"), "--no-http needs a --source"),
        (("serve", "--store", "s", "--max-age", "soon"), "--max-age soon is no time"),
        (("serve", "--store", "s", "--lateness", "5s"), "is for --order time"),
        (("serve", "--store", "s", "--model", "arf"), "arf"),
        (("serve", "--store", "s", "--source", "ftp://x/y"), "ftp:// is not known"),
        (("serve", "--store", "s", "--token-file", "none"), "none: No such file"),
        (("replay", "none.jsonl", "--store", "s"), "none.jsonl"),
        (("feed", "nowhere"), "is not an address of a worker"),
        (("store", "show", "none"), "none holds no store"),
        (("store", "compact", "none"), "none holds no store"),
    ],
)
def test_mistakes_are_told_in_one_line(arguments, message, tmp_path):
    found = driftmoe(*arguments, cwd=tmp_path)
    assert (found.returncode, found.stdout) == (2, ""), found.stderr
    lines = [line for line in found.stderr.splitlines() if line.startswith("driftmoe: ")]
    lines = [line for line in lines if "preparing the model" not in line]
    assert len(lines) == 1
    assert message in lines[0]


def test_the_export_of_a_stream_can_be_fed(tmp_path):
    exported = driftmoe("streams", "export", "sea_a", "-", "--limit", "20", cwd=tmp_path)
    events = [json.loads(line) for line in exported.stdout.splitlines()]
    assert len(events) == 20
    assert all(event.keys() == {"features", "label"} for event in events)
    (tmp_path / "log.jsonl").write_text(exported.stdout)
    assert (
        "20 events" in driftmoe("replay", "log.jsonl", "--store", "s", "--model", SPEC, cwd=tmp_path).stdout
    )


def test_what_events_hold_does_not_reach_the_terminal_as_it_is(tmp_path):
    from driftmoe.service import Arrival, Settings, Store, Worker

    worker = Worker(Store(tmp_path / "store"), Settings(model=SPEC))
    worker.start()
    lines = [b'{"features": {"a\\u001b[2J": []}}', b"\x1b]0;title\x07", "{\N{NEXT LINE}\r\n}".encode()]
    worker.feed([Arrival("log\x1b[31m", line, i) for i, line in enumerate(lines)])
    worker.stop()
    shown = driftmoe("store", "show", "store", cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert all(line.isprintable() for line in shown.stdout.split("\n"))
    for text in ("log\\x1b[31m", "a\\x1b[2J", "\\x1b]0;title\\x07", "{\\x85\\r\\n}"):
        assert text in shown.stdout


def test_the_log_escapes_what_a_terminal_would_obey():
    import logging

    from driftmoe.cli.service_log import TextLines

    try:
        raise ValueError("\x1b[2J")
    except ValueError:
        record = logging.LogRecord(
            "name", logging.WARNING, "", 0, "%s\nnext", ("a\x1bb \u2713",), sys.exc_info()
        )
    first, *rest = TextLines().format(record).split("\n")
    assert first.endswith("WARNING a\\x1bb \u2713\\nnext")
    assert rest[0].startswith("Traceback")
    assert rest[-1] == "ValueError: \\x1b[2J"
