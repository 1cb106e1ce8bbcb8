"""A store of an earlier version is opened, and the worker goes on."""

from __future__ import annotations

import json
import shutil

from make_store import SETTINGS
from places import ROOT

from driftmoe import saving
from driftmoe.service import Event, Store, Worker

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
