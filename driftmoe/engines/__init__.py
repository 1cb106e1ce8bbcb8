"""One model a key, on engines that people already run: processes of this machine, Spark, Flink.

`keyed` is the step that all of them take: the state of a key and its next events in, the new state, predictions and
alarms out. It knows no engine. `local`, `spark` and `flink` bring events to it and keep what it returns; `job` does all
of it in one folder, for `driftmoe keyed`. `sharded` is about one big stream in the place of many small ones: it shares
the trees of one pool among workers.
"""

from __future__ import annotations

from driftmoe.engines.keyed import Alarm, Cache, Event, Prediction, Step, step
from driftmoe.engines.making import Make

__all__ = ["Alarm", "Cache", "Event", "Make", "Prediction", "Step", "step"]
