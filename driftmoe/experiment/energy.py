"""Energy of the processors, read from their own counters (RAPL) where Linux shows them.

The counters are those of whole processors: they count other programs, too, and what a processor takes when idle. On
many machines only root may read them.
"""

from __future__ import annotations

from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
"""Where Linux shows the counters of Intel's and AMD's processors."""


class EnergyMeter:
    """Joules that all processors have taken since it was made.

    Parameters
    ----------
    folder
        Folder of the counters.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        self._last: dict[Path, int] = {}
        self._range: dict[Path, int] = {}
        self._microjoules = 0
        for zone in sorted(folder.glob("intel-rapl:*")):
            try:
                # Other zones are parts of a package, or the whole machine.
                if (zone / "name").read_text().startswith("package"):
                    self._range[zone] = int((zone / "max_energy_range_uj").read_text())
                    self._last[zone] = _counter(zone)
            except (OSError, ValueError):  # not for us to read
                self._last.clear()
                return

    def joules(self) -> float | None:
        """Return the joules so far, or `None` if there are no counters that can be read.

        It must be called more often than a counter overflows: about once in five minutes.
        """
        try:
            for zone, last in self._last.items():
                now = _counter(zone)
                # A counter begins at 0 again after its range.
                self._microjoules += now - last if now >= last else now - last + self._range[zone]
                self._last[zone] = now
        except (OSError, ValueError):
            self._last.clear()
        return self._microjoules / 1e6 if self._last else None


def _counter(zone: Path) -> int:
    return int((zone / "energy_uj").read_text())
