"""A store of an earlier version is opened, and the worker goes on."""

from __future__ import annotations

import json
import shutil
import sqlite3

import pytest
from make_store import SETTINGS
from places import ROOT

from driftmoe import saving
from driftmoe.service import Event, Store, StoreError, Worker
from driftmoe.service.store import FORMAT

FOLDER = ROOT / "tests" / "golden" / "store"


def test_an_old_store_is_opened_and_its_models_catch_up(tmp_path):
    expected = json.loads((FOLDER / "expected.json").read_text())
    shutil.copy(FOLDER / "store.sqlite", tmp_path)
    store = Store(tmp_path)
    in_files = {
        key: saving.from_bytes(content) for key, content in store.read("SELECT key, content FROM models")
    }
    worker = Worker(store, SETTINGS)
    learnt = {key: keyed.scores.n_learnt for key, keyed in worker.registry.models.items()}
    assert worker.counts == expected["counts"]
    assert learnt == expected["n_learnt"]
    assert len(worker.joiner.waiting) == expected["n_waiting"] > 0
    answers = {key: keyed.model.predict_proba_one({"a": 0.5, "b": "red", "c": 1})
               for key, keyed in worker.registry.models.items()}  # fmt: skip
    assert any(model.predict_proba_one({"a": 0.5, "b": "red", "c": 1}) != answers[key]
               for key, model in in_files.items())  # fmt: skip  # they lacked what came last
    worker.start()
    key, name = next(iter(worker.joiner.waiting))
    (outcome,) = worker.submit([Event(name, None, "yes", key)]).result(timeout=60)
    assert outcome["outcome"] in ("learnt", "refused")
    worker.stop()


def user_version(folder):
    connection = sqlite3.connect(folder / "store.sqlite")
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    connection.close()
    return version


def test_an_old_store_becomes_one_of_today_when_it_is_written_not_when_it_is_read(tmp_path):
    shutil.copy(FOLDER / "store.sqlite", tmp_path)
    assert user_version(tmp_path) == 1 < FORMAT
    Store(tmp_path, read_only=True).close()
    assert user_version(tmp_path) == 1
    Store(tmp_path).close()
    assert user_version(tmp_path) == FORMAT


def test_a_store_of_a_later_version_is_refused(tmp_path):
    Store(tmp_path).close()
    connection = sqlite3.connect(tmp_path / "store.sqlite")
    connection.execute(f"PRAGMA user_version = {FORMAT + 1}")
    connection.close()
    for read_only in (True, False):
        with pytest.raises(StoreError, match=f"has format {FORMAT + 1} and this version .* upgrade driftmoe"):
            Store(tmp_path, read_only=read_only)
