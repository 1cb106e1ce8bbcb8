"""Twin of the pool that sheds experts: `driftmoe/mixture/shedding.py`."""

from __future__ import annotations


def shed_slowly(steps, n_main, may_rest, least, min_awake):
    """Who is awake and who rests after each step, from (samples, weights, votes, alarms) of the steps.

    Weights are the sums over the samples of a step, and votes how often each expert voted.
    """
    trust = [4.0 * least] * (n_main + len(may_rest))
    awake, answers = set(range(n_main)), []
    for n_samples, weights, votes, n_alarms in steps:
        for e, (weight, voted) in enumerate(zip(weights, votes, strict=True)):
            n = n_samples if e < n_main else voted
            if n:
                trust[e] = 0.999**n * trust[e] + (1.0 - 0.999**n) * weight / n
        together = sum(trust[:n_main])
        if n_alarms:
            trust[n_main:] = [4.0 * least] * len(may_rest)
        resting = [may and trust[n_main + i] < least for i, may in enumerate(may_rest)]
        if n_alarms or (len(awake) < n_main and together > n_main * least):
            awake, trust[:n_main] = set(range(n_main)), [4.0 * least] * n_main
        elif len(awake) == n_main and together < n_main * least:
            awake = set(sorted(range(n_main), key=lambda e: (-trust[e], e))[:min_awake])
            trust[:n_main] = [trust[e] if e in awake else 0.0 for e in range(n_main)]
        answers.append((sorted(awake), resting))
    return answers
