"""Models of keys on Spark. What needs Spark and Java is left out without them."""

from __future__ import annotations

import json
import shutil
import sys
from types import ModuleType, SimpleNamespace

import pyarrow
import pytest
from pyarrow import parquet
from streams_of_keys import MAKE, N_KEYS, plain_loop, samples

from driftmoe.engines import event_files, flink, job, spark
from driftmoe.engines.results import PREDICTION, Result, figures_of

N, DELAY = 600, 40


class FakeState:
    """A value or a map, as Spark gives it to Python: values are tuples, and bytes may be a bytearray."""

    def __init__(self):
        self.kept = {}

    def get(self):
        return self.kept.get(())

    def update(self, value):
        self.kept[()] = (bytearray(value[0]),)

    def getValue(self, key):  # noqa: N802
        return self.kept.get(key)

    def updateValue(self, key, value):  # noqa: N802
        self.kept[key] = value

    def removeKey(self, key):  # noqa: N802
        del self.kept[key]

    def keys(self):
        return iter(self.kept)


class FakeHandle:
    def __init__(self):
        self.ttl, self.of_key = None, {}

    def getValueState(self, name, schema):  # noqa: N802
        return self.of_key.setdefault(name, FakeState())

    def getMapState(self, name, key_schema, schema, ttl):  # noqa: N802
        self.ttl = ttl
        return self.of_key.setdefault(name, FakeState())


@pytest.fixture
def row(monkeypatch):
    """Let `pyspark.sql.Row` be there."""
    fake = ModuleType("pyspark.sql")
    fake.Row = lambda **columns: SimpleNamespace(**columns)
    monkeypatch.setitem(sys.modules, "pyspark", ModuleType("pyspark"))
    monkeypatch.setitem(sys.modules, "pyspark.sql", fake)


def test_a_key_gets_its_events_in_order_whatever_the_order_of_rows(row):
    handles, found = {}, []
    lines = [(key, event) for key, event in event_files.events_of(samples(200), "shop", DELAY)]
    for start in range(0, len(lines), 100):
        rows = {}
        for key, event in lines[start : start + 100]:
            text = json.dumps({"key": key, **event._asdict()})
            rows.setdefault(key, []).insert(0, SimpleNamespace(value=text))
        for key, some in rows.items():
            processor = spark._Processor(MAKE, 60.0, 100, spark._event_of_line)
            processor.init(handles.setdefault(key, FakeHandle()))
            found += [Result(**vars(one)) for one in processor.handleInputRows((key,), iter(some), None)]
    predictions = sorted((one for one in found if one.what == PREDICTION), key=lambda one: one.seq)
    assert predictions == plain_loop(200, DELAY)
    assert {handle.ttl for handle in handles.values()} == {60_000}
    assert all(handle.of_key["waiting"].kept == {} for handle in handles.values())


def test_only_results_of_committed_batches_count(tmp_path):
    log = tmp_path / "_spark_metadata"
    log.mkdir()

    def write(name, *numbers):
        rows = [Result("k", n, None, PREDICTION, "{}")._asdict() for n in numbers]
        parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / f"{name}.parquet")
        return json.dumps({"path": f"file:///elsewhere/a%20b/{name}.parquet", "action": "add"})

    first, second, third = write("a", 1, 0), write("b", 3, 2), write("c", 4, -1)
    write("of a batch that was killed", 5)
    (log / "0").write_text(f"v1\n{first}\n")
    (log / "1.compact").write_text(f"v1\n{first}\n{second}\n")
    (log / "2").write_text(f"v1\n{third}\n")
    (log / ".2.crc").write_bytes(b"\x00")
    assert sorted(one.seq for one in spark.results(tmp_path)) == [-1, 0, 1, 2, 3, 4]
    assert [one.seq for one in spark.results(tmp_path) if one.seq >= 0] == [0, 1, 2, 3, 4]


def test_the_first_start_fixes_the_number_of_partitions(tmp_path):
    assert spark._n_partitions(tmp_path / "new", 3) == 3
    assert spark._n_partitions(tmp_path / "new", 1) == 3
    with pytest.warns(UserWarning, match="have 3 partitions since the first start, so that 8 threads"):
        assert spark._n_partitions(tmp_path / "new", 8) == 3


@pytest.mark.parametrize("engine", [spark, flink])
def test_a_folder_without_events_is_done(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "check_installed", lambda: None)
    told = []
    out = tmp_path / "out"
    engine.run(tmp_path, out, tmp_path / "checkpoint", MAKE, ttl=1.0, parallelism=1, progress=told.append)
    assert told == [0]
    assert list(engine.results(out)) == []


def test_without_spark_the_error_says_how_to_install_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(ImportError, match=r"the engine 'spark' needs .*\[spark\]' *, and Java 17"):
        spark.run(tmp_path, tmp_path, tmp_path, MAKE, ttl=1.0, parallelism=1, progress=print)


@pytest.fixture
def _installed():
    pytest.importorskip("pyspark")
    pytest.importorskip("google.protobuf")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")


def settings(engine):
    return job.Settings(
        source="shops.csv", key="shop", delay=DELAY, limit=None, stream_seed=1, model=MAKE.spec, seed=3, prior=None,
        n_in_batch=300, engine=engine,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
@pytest.mark.filterwarnings("ignore")
def test_predictions_are_those_of_the_plain_loop_though_a_run_stops(tmp_path, capfd):
    class StopError(Exception):
        pass

    def stops(what, n, n_all):
        shown.append(n)
        if n >= 600 and n_all is not None:
            raise StopError

    def go(progress):
        events = event_files.events_of(samples(N), "shop", DELAY)
        return job.run(
            tmp_path / "job",
            settings("spark"),
            MAKE,
            lambda: events,
            ttl=1e6,
            parallelism=2,
            progress=progress,
        )

    shown = []
    with pytest.raises(StopError):
        go(stops)
    assert 0 < len(list(spark.results(tmp_path / "job" / "out"))) < N
    shown.clear()
    found = go(lambda what, n, n_all: shown.append(n))
    expected = figures_of(event_files.events_of(samples(N), "shop", DELAY), plain_loop(N, DELAY))
    assert found.digest == expected.digest
    assert found.n_keys == N_KEYS
    assert 0 < shown[0] <= shown[-1] == 2 * N
    assert capfd.readouterr().err == ""


@pytest.mark.slow
@pytest.mark.usefixtures("_installed")
@pytest.mark.filterwarnings("ignore")
def test_rows_of_a_streaming_frame_become_predictions(tmp_path):
    session = spark._session(tmp_path / "checkpoint", 1)
    try:
        lines = []
        for key, event in event_files.events_of(samples(50), "shop", 10):
            lines.append(json.dumps({"shop": key, **event._asdict(), "payload": json.dumps(event.payload)}))
        (tmp_path / "in").mkdir()
        (tmp_path / "in" / "a.json").write_text("\n".join(lines))
        schema = "shop string, seq long, id string, kind string, payload string"
        events = session.readStream.schema(schema).json(str(tmp_path / "in"))
        query = (
            spark.predictions(events, MAKE, key="shop", ttl=3600.0)
            .writeStream.queryName("told")
            .format("memory")
        )
        query.trigger(availableNow=True).start().awaitTermination()
        told = [Result(**one.asDict()) for one in session.sql("select * from told").collect()]
    finally:
        session.stop()
    predictions = sorted((one for one in told if one.what == PREDICTION), key=lambda one: one.seq)
    assert predictions == plain_loop(50, 10)
