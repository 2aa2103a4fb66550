"""What the head does with tasks that are lost, silent or at fault, by an engine that only plays them."""

from collections import deque

import pytest

from pipeline.cluster import tasks
from pipeline.cluster.tasks import Beat, Ended, Fault, Follower, Lost, Note
from pipeline.training.processes import WorkerError


class Playing:
    """An engine whose tasks send what a script says; None: no news."""

    def __init__(self, *scripts, places=1):
        self.scripts, self._places = deque(map(deque, scripts)), places
        self.stopped, self.left, self.most = [], [], 0
        self.running = {}

    def share(self, value):
        return value

    def places(self):
        return self._places

    def start(self, work, *arguments):
        number = len(self.running)
        self.running[number] = self.scripts.popleft()
        return number

    def next(self, handles, seconds):
        self.most = max(self.most, len(handles))
        for handle in handles:
            if self.running[handle]:
                message = self.running[handle].popleft()
                return None if message is None else (handle, message)
        return None

    def stop(self, handle):
        self.stopped.append(handle)

    def leave(self, handle):
        self.left.append(handle)
        self.stop(handle)


class Kept:
    """A task that keeps what it was sent."""

    def __init__(self, label):
        self.label, self.starts, self.messages = label, 0, []

    def start(self, engine):
        self.starts += 1
        return engine.start(None)

    def take(self, message):
        self.messages.append(message)
        return message != "tick"


def follow(engine, *given):
    told = []
    Follower(engine, told.append).run(given)
    return told


def test_messages_reach_their_task_and_all_tasks_are_run():
    one, two, three = Kept("one"), Kept("two"), Kept("three")
    engine = Playing([Beat(), 1, Ended()], [2, Note("x"), Ended()], [Note("x"), 3, Ended()])
    assert follow(engine, one, two, three) == ["x"]
    assert [task.messages for task in (one, two, three)] == [[1], [2], [3]]
    assert engine.most == 2, "as many again as there are places"
    assert engine.stopped == []


def test_a_lost_task_goes_first_and_is_told_in_a_line():
    one, two, three = Kept("one"), Kept("two"), Kept("three")
    engine = Playing([Lost("power cut")], [Ended()], [5, Ended()], [Ended()])
    told = follow(engine, one, two, three)
    assert told == ["one: its worker was lost (power cut); sent out again"]
    assert (one.starts, one.messages) == (2, [5])


def test_a_task_that_gets_on_may_be_lost_as_often_as_it_likes():
    scripts = [[step, Lost("again")] for step in range(5)]
    task = Kept("t")
    assert len(follow(Playing(*scripts, [Ended()]), task)) == 5
    assert task.messages == [0, 1, 2, 3, 4]


def test_a_task_that_does_not_get_on_is_given_up():
    with pytest.raises(
        WorkerError, match=r"t: its worker was lost 3 times .* time: OOM\. What was"
    ):
        follow(Playing(*[["tick", Lost("OOM")]] * 3), Kept("t"))


def test_a_fault_ends_all():
    engine = Playing([Fault("on node n: no room")], [Beat(), None])
    with pytest.raises(WorkerError, match="on node n: no room"):
        follow(engine, Kept("one"), Kept("two"))
    assert sorted(engine.stopped) == [0, 1]


def test_an_interrupted_follower_stops_its_tasks():
    engine = Playing([1, 2], [3])
    steps = Follower(engine, print).steps([Kept("one"), Kept("two")])
    next(steps)
    steps.close()
    assert sorted(engine.stopped) == [0, 1]


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes on by a second whenever it is asked."""
    now = iter(range(10**6))
    monkeypatch.setattr(tasks.time, "monotonic", lambda: next(now))


def test_a_silent_task_is_told_and_then_given_to_another(clock):
    task = Kept("t")
    engine = Playing([Beat(), *[None] * 100], [Ended()])
    told = follow(engine, task)
    assert told == [
        "t: no sign of life for 10 s",
        "t: its worker was lost (no sign of life for 30 s); sent out again",
    ]
    assert engine.left == engine.stopped == [0]


def test_a_task_that_may_have_been_meant_for_a_silent_node_is_started_anew(clock):
    one, two = Kept("one"), Kept("two")
    engine = Playing([Beat(), *[None] * 100], [None] * 100, [5, Ended()], [6, Ended()])
    told = follow(engine, one, two)
    assert told[-1] == "one: its worker was lost (no sign of life for 30 s); sent out again"
    assert (engine.left, sorted(engine.stopped)) == ([0], [0, 1])
    assert (one.messages, two.messages) == ([5], [6])


def test_a_sign_of_life_is_enough(clock):
    engine = Playing([Beat(), *([None] * 8 + [Beat()]) * 20, Ended()])
    assert follow(engine, Kept("t")) == []


def test_waiting_for_a_place_is_told(clock):
    engine = Playing([*[None] * 40, Beat(), Ended()], [Ended()], places=0)
    told = follow(engine, Kept("one"), Kept("two"))
    assert told == [
        "2 tasks have not begun: workers are starting, or the cluster's 0 places are taken (`ray status`)"
    ]
    assert engine.stopped == []


def test_a_task_that_waits_beside_a_free_place_is_started_anew(clock):
    task = Kept("t")
    engine = Playing([None] * 100, [*[None] * 20, Beat(), Ended()])
    told = follow(engine, task)
    assert (task.starts, engine.stopped) == (2, [0])
    assert len(told) == 1, "it waits; it is not lost"
