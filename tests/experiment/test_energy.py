"""The energy meter, on a folder made like Linux's."""

from __future__ import annotations

import json
from pathlib import Path

import streams
from driftmoe.experiment import Attempt, Run
from driftmoe.experiment import run as run_module
from driftmoe.experiment.energy import EnergyMeter


def zone(folder, name, label, energy, most=1_000_000_000):
    made = folder / name
    made.mkdir(exist_ok=True)
    for file, value in (("name", label), ("energy_uj", energy), ("max_energy_range_uj", most)):
        (made / file).write_text(f"{value}\n")


def test_packages_are_added_up_and_counters_may_overflow(tmp_path):
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    zone(tmp_path, "intel-rapl:1", "package-1", 999_000_000)
    zone(tmp_path, "intel-rapl:0:0", "core", 1)  # a part of package 0
    zone(tmp_path, "intel-rapl:2", "psys", 1)  # the whole machine
    meter = EnergyMeter(tmp_path)
    assert meter.joules() == 0.0
    zone(tmp_path, "intel-rapl:0", "package-0", 8_000_000)  # 3 J
    zone(tmp_path, "intel-rapl:1", "package-1", 1_500_000)  # 1 J to the end, then 1.5 J
    zone(tmp_path, "intel-rapl:0:0", "core", 900_000_000)
    assert meter.joules() == 5.5
    assert meter.joules() == 5.5


def test_without_readable_counters_there_is_no_figure(tmp_path):
    assert EnergyMeter(tmp_path / "none").joules() is None
    zone(tmp_path, "intel-rapl:0", "package-0", 5_000_000)
    (tmp_path / "intel-rapl:0" / "energy_uj").write_text("")
    assert EnergyMeter(tmp_path).joules() is None


def test_a_result_line_has_the_energy_where_it_can_be_measured(tmp_path, monkeypatch):
    class Counting(EnergyMeter):
        def __init__(self):
            zone(tmp_path, "intel-rapl:0", "package-0", 0)
            super().__init__(tmp_path)

        def joules(self):
            zone(tmp_path, "intel-rapl:0", "package-0", 1_000_000 + self._last[tmp_path / "intel-rapl:0"])
            return super().joules()

    stream = streams.make("sea_a", n_samples=60)
    run = Run("sea_a", stream.fingerprint(), "nochange", 1, 60, 20)
    lines = []
    nowhere = lambda: EnergyMeter(Path("/nowhere"))  # noqa: E731
    for meter, is_alone in ((Counting, True), (nowhere, True), (Counting, False)):
        monkeypatch.setattr(run_module, "EnergyMeter", meter)
        attempt = Attempt(run, stream, is_alone=is_alone)
        assert len(list(attempt.checkpoints())) == 3
        lines.append(json.loads(json.dumps(attempt.result(is_complete=True))))
    assert lines[0]["package_joules"] == 3.0  # one more at each of three windows
    assert "package_joules" not in lines[1]
    assert "package_joules" not in lines[2]  # it would be that of several runs
