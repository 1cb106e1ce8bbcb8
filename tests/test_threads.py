"""Threads that share calls: each call is made once, whatever interrupts or fails, and nothing works on unnoticed."""

from __future__ import annotations

import signal
import threading
import time
from collections import Counter
from functools import partial
from operator import call

import pytest

from driftmoe.threads import SideBySide, shared


def test_lanes_run_at_the_same_time():
    """Each lane waits for the other: in one thread they would never end."""
    barrier, seen = threading.Barrier(2, timeout=30), []

    def meet(number):
        barrier.wait()
        seen.append(number)

    assert not SideBySide([[partial(meet, 1), partial(meet, 2)]] * 2, 2)()
    assert sorted(seen) == [1, 1, 2, 2]


def test_each_call_is_made_once_by_any_number_of_threads():
    for n_threads in (1, 2, 3, 8):
        made = []
        change = SideBySide(
            [[partial(made.append, (lane, i)) for i in range(3)] for lane in range(20)], n_threads
        )
        assert not change()
        assert sorted(made) == [(lane, i) for lane in range(20) for i in range(3)]
        assert all([i for of, i in made if of == lane] == [0, 1, 2] for lane in range(20))
        assert not change()
        assert len(made) == 60


def test_a_plan_that_is_carried_out_again_makes_its_calls_again():
    made = []
    change = SideBySide([[partial(made.append, i)] for i in range(3)], 2)
    for _ in range(2):
        change.begin()
        assert not change()
    assert Counter(made) == {0: 2, 1: 2, 2: 2}


def both(of_main, of_other):
    """Two lanes of which each thread takes one."""
    barrier = threading.Barrier(2, timeout=30)

    def act(number):
        barrier.wait()
        is_main = threading.current_thread() is threading.main_thread()
        (of_main if is_main else of_other)(number)

    return [[partial(act, number)] for number in (0, 1)]


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="no signals to a thread on this system")
def test_an_interrupt_while_another_thread_is_at_work_makes_nothing_twice():
    done, ended = [], threading.Event()

    def interrupt(number):
        while not done:
            time.sleep(0.001)
        time.sleep(0.1)  # the main thread waits for this one
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        ended.wait(0.3)  # the main thread calls again meanwhile, and must not take this lane
        done.append(number)

    change = SideBySide(both(done.append, interrupt), 2)
    with pytest.raises(KeyboardInterrupt):
        change()
    assert len(done) == 1
    assert not change()
    assert sorted(done) == [0, 1]
    assert not change()
    assert len(done) == 2


@pytest.mark.parametrize("in_main", [True, False])
def test_an_error_is_raised_once_all_are_at_rest_and_calling_again_does_the_rest(in_main):
    tries, done = [], []

    def fail_once(number):
        tries.append(number)
        if len(tries) == 1:
            raise MemoryError("no room")
        done.append(number)

    def slowly(number):
        time.sleep(0.2)
        done.append(number)

    change = SideBySide(both(*([fail_once, slowly] if in_main else [slowly, fail_once])), 2)
    with pytest.raises(MemoryError, match="no room"):
        change()
    assert len(done) == 1  # what went on has ended
    change.lanes[tries[0]][0] = partial(fail_once, tries[0])  # without the barrier, which wants two
    assert not change()
    assert sorted(done) == [0, 1]


def test_a_lane_goes_on_where_it_stopped():
    made, errors = [], [MemoryError("no room")]

    def fail_once():
        if errors:
            raise errors.pop()

    change = SideBySide([[partial(made.append, 1), fail_once, partial(made.append, 2)]], 2)
    with pytest.raises(MemoryError):
        change()
    assert not change()
    assert made == [1, 2]


def test_a_failure_is_told():
    assert SideBySide([[bool], [partial(bool, 1)]], 2)() is True


def test_shared_lanes_within_lanes_are_shared_with_the_others():
    made = []
    trees = SideBySide([[partial(made.append, "tree")]] * 3, 2)
    lanes = [[partial(made.append, "neighbours")], [partial(made.append, "room"), trees]]
    changes = shared(lanes, 2)
    assert [len(change.lanes) if isinstance(change, SideBySide) else 1 for change in changes] == [1, 1, 4]
    for n_times in (1, 2):  # changes may be made again
        assert not any(map(call, changes))
        assert Counter(made) == {"room": n_times, "neighbours": n_times, "tree": 3 * n_times}
    assert made[0] == "room"
    assert shared([[int], [bool, float]], 1) == [int, bool, float]
