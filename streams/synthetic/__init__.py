"""Synthetic streams that equal MOA's generators sample for sample.

Each class draws the numbers of `java.util.Random` (`streams.java_random`) in the same order as the MOA class named in
its docstring. Parameters and seeds of a published experiment on MOA or CapyMOA therefore give that experiment's
samples: all features and labels are equal as float64. A docstring says so where the last bit may depend on the
platform. Each generator fills a block with one compiled kernel.

`Fleet`, many keys in one stream, has no counterpart in MOA.

Options of MOA that change no sample are left out: class labels that no sample gets, lengths that nothing reads.

References
----------
Bifet, Holmes, Kirkby, Pfahringer (2010): MOA: Massive Online Analysis. JMLR 11, 1601-1604.
"""

from __future__ import annotations

from collections.abc import Callable

from streams.stream import Stream
from streams.synthetic.agrawal import Agrawal
from streams.synthetic.assets import AssetNegotiation
from streams.synthetic.curves import Mixed, Sine
from streams.synthetic.fleet import Fleet
from streams.synthetic.hyperplane import Hyperplane
from streams.synthetic.led import LED, SEGMENTS, LEDDrift
from streams.synthetic.random_tree import RandomTree
from streams.synthetic.rbf import RandomRBF, RandomRBFDrift
from streams.synthetic.sea import SEA
from streams.synthetic.stagger import STAGGER
from streams.synthetic.waveform import Waveform, WaveformDrift

__all__ = [
    "LED",
    "SEA",
    "SEGMENTS",
    "STAGGER",
    "STREAMS",
    "Agrawal",
    "AssetNegotiation",
    "Fleet",
    "Hyperplane",
    "LEDDrift",
    "Mixed",
    "RandomRBF",
    "RandomRBFDrift",
    "RandomTree",
    "Sine",
    "Waveform",
    "WaveformDrift",
]

STREAMS: dict[str, Callable[[int | None, int | None], Stream]] = {
    "agrawal": lambda seed, n_samples: Agrawal(seed=seed, n_samples=n_samples),
    "asset_negotiation": lambda seed, n_samples: AssetNegotiation(seed=seed, n_samples=n_samples),
    "fleet": lambda seed, n_samples: Fleet.of_length(n_samples, seed=seed),
    "hyperplane": lambda seed, n_samples: Hyperplane(mag_change=0.001, seed=seed, n_samples=n_samples),
    "led": lambda seed, n_samples: LED(seed=seed, n_samples=n_samples),
    "led_drift": lambda seed, n_samples: LEDDrift(seed=seed, n_samples=n_samples),
    "mixed": lambda seed, n_samples: Mixed(seed=seed, n_samples=n_samples),
    "random_rbf": lambda seed, n_samples: RandomRBF(model_seed=seed, seed=seed, n_samples=n_samples),
    "random_rbf_drift": lambda seed, n_samples: RandomRBFDrift(
        speed=0.001, model_seed=seed, seed=seed, n_samples=n_samples
    ),
    "random_tree": lambda seed, n_samples: RandomTree(model_seed=seed, seed=seed, n_samples=n_samples),
    "sea": lambda seed, n_samples: SEA(seed=seed, n_samples=n_samples),
    "sine": lambda seed, n_samples: Sine(seed=seed, n_samples=n_samples),
    "stagger": lambda seed, n_samples: STAGGER(seed=seed, n_samples=n_samples),
    "waveform": lambda seed, n_samples: Waveform(seed=seed, n_samples=n_samples),
    "waveform_drift": lambda seed, n_samples: WaveformDrift(
        n_drift_features=10, seed=seed, n_samples=n_samples
    ),
}
"""Makes each generator from a seed and a length, by its plain name.

The parameters are MOA's defaults, except where a default of 0 would keep a drifting stream still. The seed is also the
seed of the model (centroids or tree), as in published experiments.
"""
