"""Several trainings at a time: each is what it is alone, wherever it stops, and memory decides how many."""

import contextlib
import gc
import weakref

import pytest
import torch
from training_samples import (
    PARAMS,
    Setup,
    assert_equal_states,
    kd_loss,
    taught,
    with_dropout,
)

from pipeline.core.errors import DecantError
from pipeline.training.loop import fit
from pipeline.training.together import Lane, Memory, fit_together

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def setup(few_digits, tiny_network):
    return Setup(few_digits, tiny_network)


class Replicates:
    """Trainings of some seeds, and what became of them; `stop_at` ends one of them in an epoch of its own."""

    def __init__(self, setup, seeds, folder=None, stop_at=None, count=150):
        self.count = count
        self.setup, self.folder, self.stop_at = setup, folder, stop_at or {}
        self.ended, self.begun, self.steps = {}, [], []
        self.lanes = [self.lane(seed) for seed in seeds]

    def trainer(self, seed):
        return self.setup.trainer(
            source=taught(self.count, 0.5, seed), loss=kd_loss, count=self.count, seed=seed
        )

    def lane(self, seed):
        def start():
            self.begun.append(seed)
            return self.trainer(seed)

        def on_step(trainer, loss):
            self.steps.append((seed, trainer.epoch))
            if self.stop_at.get(seed) == trainer.epoch:
                raise InterruptedError(seed)

        def on_end(trainer, at_once):
            self.ended[seed] = (trainer, at_once)

        checkpoint = None if self.folder is None else self.folder / str(seed)
        return Lane(
            start=start,
            test=self.setup.test,
            checkpoint=checkpoint,
            on_step=on_step,
            on_end=on_end,
        )

    def alone(self, seed):
        trainer = self.trainer(seed)
        fit(trainer, self.setup.test)
        return trainer


class Room(Memory):
    """Says yes to as many more as it is told."""

    def __init__(self, *answers):
        super().__init__(CPU)
        self.answers = list(answers)

    def has_room(self):
        return self.answers.pop(0)


def test_together_each_is_what_it_is_alone(setup):
    three = Replicates(setup, (1, 2, 3))
    fit_together(three.lanes, CPU)
    assert [at_once for _, at_once in three.ended.values()] == [3, 3, 3]
    for seed, (trainer, _) in three.ended.items():
        alone = three.alone(seed)
        assert_equal_states(trainer, alone)
        assert trainer.curves == alone.curves
    first, second = three.ended[1][0], three.ended[2][0]
    assert not torch.equal(first.network.fc.weight, second.network.fc.weight)


def test_what_one_draws_is_what_it_draws_alone(few_digits, tiny_network):
    setup = Setup(few_digits, with_dropout(tiny_network))
    two = Replicates(setup, (1, 2))
    fit_together(two.lanes, CPU)
    for seed, (trainer, _) in two.ended.items():
        assert_equal_states(trainer, two.alone(seed))


def test_a_mistake_ends_one_alone_before_its_first_step_too(setup):
    three, mistakes = Replicates(setup, (1, 2, 3), stop_at={3: 1}), []

    def start():
        raise ValueError("views: 50 are asked for")

    three.lanes[1].start = start
    for lane in three.lanes:
        lane.on_mistake = mistakes.append
    fit_together(three.lanes, CPU)
    assert list(map(str, mistakes)) == ["views: 50 are asked for", "3"]
    assert list(three.ended) == [1]
    assert_equal_states(three.ended[1][0], three.alone(1))


def test_trainers_are_freed_as_they_end(setup):
    """Also while others go on, and where a mistake ended them."""
    three, trainers, left = Replicates(setup, (1, 2, 3), stop_at={2: 1}), [], []

    def noted(start):
        def started():
            trainer = start()
            trainers.append(weakref.ref(trainer))
            return trainer

        return started

    def on_end(trainer, at_once):
        gc.collect()
        left.append([seed for seed, at in enumerate(trainers, 1) if at() is not None])

    for lane in three.lanes:
        lane.start, lane.on_end, lane.on_mistake = noted(lane.start), on_end, lambda error: None
    fit_together(three.lanes, CPU, at_once=1)
    assert left == [[1], [3]]
    gc.collect()
    assert [trainer() for trainer in trainers] == [None] * 3


def test_they_take_turns_but_end_their_epochs_at_different_times(setup):
    two = Replicates(setup, (1, 2), count=320)  # five steps an epoch
    fit_together(two.lanes, CPU)
    seeds = [seed for seed, _ in two.steps]
    assert seeds[:7] == [1, 1, 2, 1, 2, 1, 2]
    assert (seeds.count(1), seeds.count(2)) == (15, 15)
    begins = [two.steps.index((seed, 1)) for seed in (1, 2)]
    assert begins[1] - begins[0] > 2


def test_one_at_a_time(setup):
    two = Replicates(setup, (1, 2))
    fit_together(two.lanes, CPU, at_once=1)
    assert [seed for seed, _ in two.steps] == [1] * 9 + [2] * 9
    assert [at_once for _, at_once in two.ended.values()] == [1, 1]


def test_where_there_is_no_room_the_rest_comes_afterwards(setup):
    """Two fit; the third is asked for twice: beside two, and when one has ended."""
    three = Replicates(setup, (1, 2, 3))
    room = Room(True, True, False, False)
    fit_together(three.lanes, CPU, memory=room)
    assert three.begun == [1, 2, 3]
    begins = [three.steps.index((seed, 0)) for seed in (1, 2, 3)]
    assert begins == [0, 1, 18]
    assert room.answers == []  # with nothing in training the next one begins whatever the answer
    assert [at_once for _, at_once in three.ended.values()] == [2, 2, 1]
    for seed, (trainer, _) in three.ended.items():
        assert_equal_states(trainer, three.alone(seed))


def test_one_that_finds_no_room_beside_others_comes_afterwards(setup):
    three = Replicates(setup, (1, 2, 3))
    start = three.lanes[1].start

    def begin():
        if not three.ended:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return start()

    three.lanes[1].start = begin
    fit_together(three.lanes, CPU)
    assert list(three.ended) == [1, 2, 3]
    for seed, (trainer, _) in three.ended.items():
        assert_equal_states(trainer, three.alone(seed))


def test_one_that_has_no_room_alone_ends_alone(setup):
    def begin():
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore")

    two, mistakes = Replicates(setup, (1, 2)), []
    two.lanes[1].start = begin
    with pytest.raises(DecantError, match="too small for this network alone; lower "):
        fit_together(two.lanes, CPU)
    two = Replicates(setup, (1, 2))
    two.lanes[0].start, two.lanes[0].on_mistake = begin, mistakes.append
    fit_together(two.lanes, CPU)
    assert list(two.ended) == [2]
    assert [str(error).endswith("Tried to allocate 2 GiB)") for error in mistakes] == [True]


def test_one_of_them_goes_on_from_its_checkpoint(setup, tmp_path):
    first = Replicates(setup, (1, 2), tmp_path, stop_at={2: 1})
    with pytest.raises(InterruptedError):
        fit_together(first.lanes, CPU)
    again = Replicates(setup, (1, 2, 3), tmp_path)
    fit_together(again.lanes, CPU)
    assert again.steps[:3] == [(1, 1), (2, 1), (3, 0)]
    for seed, (trainer, _) in again.ended.items():
        assert_equal_states(trainer, again.alone(seed))


def test_a_finished_one_ends_at_once_and_only_once(setup, tmp_path):
    fit_together(Replicates(setup, (1,), tmp_path).lanes, CPU)
    again = Replicates(setup, (1, 2), tmp_path)
    ends = []
    for lane in again.lanes:
        lane.on_end = lambda trainer, at_once: ends.append(trainer.seed)
    fit_together(again.lanes, CPU)
    assert ends == [1, 2]
    assert {seed for seed, _ in again.steps} == {2}


def test_an_error_ends_all(setup, tmp_path):
    three = Replicates(setup, (1, 2, 3), tmp_path, stop_at={2: 2})
    with pytest.raises(InterruptedError, match="2"):
        fit_together(three.lanes, CPU)
    assert three.ended == {}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "3", "metrics.jsonl"]


def test_different_lengths_and_networks(setup):
    short = PARAMS.__class__(**{**vars(PARAMS), "epochs": 1})
    long = Replicates(setup, (1,))
    other = Lane(
        start=lambda: setup.trainer(short, count=100, seed=5),
        test=setup.test,
        on_end=lambda trainer, at_once: long.ended.update({5: (trainer, at_once)}),
    )
    fit_together([other, *long.lanes], CPU)
    assert list(long.ended) == [5, 1]
    assert_equal_states(long.ended[1][0], long.alone(1))
    alone = setup.trainer(short, count=100, seed=5)
    fit(alone, setup.test)
    assert_equal_states(long.ended[5][0], alone)


def test_nothing_to_train():
    fit_together([], CPU)


def test_memory_of_the_largest_decides(monkeypatch):
    free = iter([1000, 1000, 900, 900, 600, 374, 375, 325])
    monkeypatch.setattr(Memory, "free", lambda self: next(free))
    memory = Memory(CPU)
    assert memory.has_room()
    memory.measure_last()
    assert memory.needed == 100
    assert memory.has_room()
    memory.measure_last()
    assert memory.needed == 300
    assert [memory.has_room() for _ in range(2)] == [False, True]
    memory.measure_last()  # a small one
    assert memory.needed == 300


def test_a_cpu_has_room():
    memory = Memory(CPU)
    memory.measure_last()
    assert memory.has_room()


class PretendCuda:
    """Streams whose steps are over when the test says so."""

    def __init__(self, monkeypatch):
        self.current, self.done, self.recorded = None, 0, 0
        cuda = self

        class Event:
            def record(self, stream):
                assert cuda.current is stream
                cuda.recorded += 1
                self.number = cuda.recorded

            def query(self):
                return self.number <= cuda.done

        @contextlib.contextmanager
        def on_stream(stream):
            assert cuda.current is None
            cuda.current = stream
            yield
            cuda.current = None

        monkeypatch.setattr(torch.cuda, "Stream", lambda device: object())
        monkeypatch.setattr(torch.cuda, "Event", Event)
        monkeypatch.setattr(torch.cuda, "stream", on_stream)


def test_a_lane_runs_ahead_of_its_device_by_so_many_steps(setup, monkeypatch):
    cuda = PretendCuda(monkeypatch)
    monkeypatch.setattr("pipeline.training.together.STEPS_AHEAD", 2)
    (lane,) = Replicates(setup, (1,)).lanes
    lane.begin(torch.device("cuda", 0))
    given = 0
    while lane.is_ready:
        assert lane.advance()
        given += 1
    assert given == 2
    cuda.done = 1
    assert lane.is_ready
    assert lane.advance()
    assert lane.trainer.epoch_is_over
    cuda.done = 2
    assert not lane.is_ready  # what comes now reads the losses: the third step has to be over
    cuda.done = 3
    assert lane.is_ready
    assert lane.advance()
    assert (lane.trainer.epoch, lane.trainer.steps_in_epoch) == (1, 1)
    lane.close()


def test_lanes_on_streams_train_what_they_train_alone(setup, monkeypatch):
    cuda = PretendCuda(monkeypatch)
    waits = []

    def wait(seconds):
        waits.append(seconds)
        cuda.done = cuda.recorded - 1  # the device has caught up, but for one step
        if len(waits) % 3 == 0:
            cuda.done = cuda.recorded

    monkeypatch.setattr("pipeline.training.together.time.sleep", wait)
    monkeypatch.setattr(Memory, "free", lambda self: 1000)
    three = Replicates(setup, (1, 2, 3))
    fit_together(three.lanes, torch.device("cuda", 0))
    assert waits
    assert [at_once for _, at_once in three.ended.values()] == [3, 3, 3]
    for seed, (trainer, _) in three.ended.items():
        assert_equal_states(trainer, three.alone(seed))
