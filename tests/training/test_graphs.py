"""Recording and replaying steps, with a recorder that needs no GPU; CUDA's own is in test_gpu.

The stand-in does to a step what CUDA's does: runs it to warm up and has it put back, then forbids what a
recording cannot contain while the step is looked at, and gives back something that repeats it.
"""

import contextlib
import gc
import inspect

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from training_samples import (
    PARAMS,
    Setup,
    assert_equal_states,
    kd_loss,
    state,
    taught,
    with_dropout,
)

from pipeline.losses.registry import bind
from pipeline.losses.signatures import INPUTS, LOSSES
from pipeline.training.graphs import Snapshot, StepPlayer, reason, recorder_for
from pipeline.training.loop import fit
from pipeline.views.batches import ViewBatches

CPU = torch.device("cpu")


class NoWaiting(TorchDispatchMode):
    """Refuses operations whose result the host has to see."""

    FORBIDDEN = ("_local_scalar_dense", "nonzero", "is_nonzero", "equal")

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        if function.__name__.split(".")[0] in self.FORBIDDEN:
            raise RuntimeError(f"waits for the device: {function.__name__}\nand more lines")
        return function(*args, **(kwargs or {}))


class PretendRecorder:
    """Checks a step and gives it back; notes the steps that it recorded."""

    def __init__(self):
        self.recorded, self.replayed = [], 0

    def __call__(self, body, restore):
        for _ in range(2):
            body()
            restore()
        with NoWaiting():
            body()  # CUDA's recording does nothing; what this one does has to be put back
        restore()
        self.recorded.append(body)

        def replay():
            self.replayed += 1
            body()

        return replay


@pytest.fixture(scope="module")
def setup(few_digits, tiny_network):
    return Setup(few_digits, tiny_network, by_index=True)  # as on a GPU


def recording_trainer(setup, **options):
    trainer = setup.trainer(**options)
    trainer.player.recorder = PretendRecorder()
    return trainer


@pytest.mark.parametrize("share", [0.0, 0.5])
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_recorded_steps_end_with_the_same_bits(setup, share, precision):
    params = PARAMS.__class__(**{**vars(PARAMS), "precision": precision})
    options = {"params": params, "source": taught(200, share), "loss": kd_loss, "count": 200}
    eager = setup.trainer(**options)
    curves = fit(eager, setup.test)
    recorded = recording_trainer(setup, **options)
    assert fit(recorded, setup.test) == curves
    assert_equal_states(eager, recorded)
    recorder = recorded.player.recorder
    assert len(recorder.recorded) == 2  # of the batch size, and of the last batch
    assert recorder.replayed == 3 * 4
    assert recorded.player.records


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_can_be_recorded(setup, name):
    options = {
        "kd": {"temperature": 4.0, "gamma": 0.1, "alpha": 0.9},
        "kd_soft_only": {"temperature": 4.0},
        "rescaled": {"gamma": 0.1, "alpha": 0.9},
        "zscore": {"temperature": 2.0, "gamma": 0.1, "alpha": 9.0},
        "dkd": {"temperature": 4.0, "gamma": 1.0, "alpha": 1.0, "beta": 8.0, "warmup_epochs": 2},
        "dist": {"temperature": 1.0, "gamma": 1.0, "inter": 2.0, "intra": 2.0},
        "mse": {"gamma": 0.1, "alpha": 0.9},
        "rkd": {"gamma": 1.0, "distance": 25.0, "angle": 50.0},
    }[name]

    def loss(logits, features, batch, epoch):
        teacher = batch.teacher_logits, batch.teacher_logits
        given = logits, features, *teacher, batch.targets, epoch
        return bind(name)(dict(zip(INPUTS, given, strict=True)), **options)

    params = PARAMS.__class__(**{**vars(PARAMS), "epochs": 2, "learning_rate": 1e-3})
    trained = {
        "eager": setup.trainer(params, source=taught(128), loss=loss, count=128),
        "recorded": recording_trainer(
            setup, params=params, source=taught(128), loss=loss, count=128
        ),
    }
    for trainer in trained.values():
        fit(trainer, setup.test)
    assert trained["recorded"].player.records
    assert_equal_states(*trained.values())


def test_a_new_layout_is_recorded_anew(setup):
    def source(epoch):
        return taught(200, 0.5 if epoch % 2 else 0.0)(epoch)

    eager = setup.trainer(source=source, loss=kd_loss, count=200)
    fit(eager, setup.test)
    recorded = recording_trainer(setup, source=source, loss=kd_loss, count=200)
    fit(recorded, setup.test)
    assert_equal_states(eager, recorded)
    assert len(recorded.player.recorder.recorded) == 4


def test_recorded_steps_go_on_from_a_checkpoint(setup, tmp_path):
    """Loading goes into the memory that a recorded step acts on."""
    whole = setup.trainer(count=200)
    fit(whole, setup.test)
    checkpoint = tmp_path / "state"
    first = recording_trainer(setup, count=200)
    data = first.stage(0)
    for _ in first.steps(data):
        pass
    first.finish_epoch(setup.test)
    first.save(checkpoint)
    for _ in first.steps(first.stage(1)):  # lost
        pass
    fit(first, setup.test, checkpoint=checkpoint)
    assert_equal_states(whole, first)
    assert len(first.player.recorder.recorded) == 2


def hasty_loss(logits, features, batch, epoch):
    """Looks at a number in the middle of a step."""
    scale = 1.0 if epoch.item() < 1 else 0.5
    return scale * kd_loss(logits, features, batch, epoch)


def test_what_cannot_be_recorded_is_run_as_it_is_and_told_once(setup):
    told = []
    options = {"source": taught(200), "loss": hasty_loss, "count": 200}
    eager = setup.trainer(**options)
    curves = fit(eager, setup.test)
    refused = recording_trainer(setup, warn=told.append, **options)
    assert fit(refused, setup.test) == curves
    assert_equal_states(eager, refused)
    assert told == [
        "steps are run one operation at a time, not as a CUDA graph: waits for the device: "
        "_local_scalar_dense.default"
    ]
    assert not refused.player.records


def test_steps_that_draw_are_not_recorded(few_digits, tiny_network):
    """Their recordings would share a generator, or repeat what the host drew."""
    setup, told = Setup(few_digits, with_dropout(tiny_network), by_index=True), []
    eager = setup.trainer(count=200)
    curves = fit(eager, setup.test)
    refused = recording_trainer(setup, warn=told.append, count=200)
    assert fit(refused, setup.test) == curves
    assert_equal_states(eager, refused)
    assert told == [
        "steps are run one operation at a time, not as a CUDA graph: the network or the loss draws "
        "random numbers"
    ]


def test_the_reason_is_logged_where_nobody_asks_for_it(setup, caplog):
    trainer = recording_trainer(setup, source=taught(200), loss=hasty_loss, count=200)
    fit(trainer, setup.test)
    (record,) = caplog.records
    assert record.name == "decant"
    assert "waits for the device" in record.message


def test_an_error_that_is_no_matter_of_recording_is_raised(setup):
    def loss(logits, features, batch, epoch):
        raise ValueError("no such teacher")

    trainer = recording_trainer(setup, loss=loss, count=200)
    with pytest.raises(ValueError, match="no such teacher"):
        fit(trainer, setup.test)


@pytest.mark.parametrize("by_index", [False, True], ids=["rows", "index"])
def test_steps_wait_for_nothing(few_digits, tiny_network, by_index):
    """No step looks at a number, whatever runs it."""
    setup = Setup(few_digits, tiny_network, by_index=by_index)
    trainer = setup.trainer(source=taught(200), loss=kd_loss, count=200)
    steps = trainer.steps(trainer.source(0))
    next(steps)
    with NoWaiting():
        assert len(list(steps)) == 3


def test_no_recorder_without_a_gpu():
    assert recorder_for(CPU) is None


def test_recording_can_be_forbidden(setup, monkeypatch):
    monkeypatch.setattr("pipeline.training.trainer.recorder_for", lambda device: PretendRecorder())
    assert setup.trainer(count=64).player.records
    assert not setup.trainer(count=64, graph=False).player.records


def test_a_recording_leaves_nothing_behind(setup):
    """Not even of a step that was begun."""
    trainer = setup.trainer(source=taught(200), loss=kd_loss, count=200)
    trainer.batches.start(trainer.source(0))
    trainer._start_tables()
    before = {name: value.clone() for name, value in state(trainer).items()}
    tables = [tensor.clone() for tensor in trainer.tables.state()]
    trainer.player.recorder = PretendRecorder()
    trainer.player.prepare(trainer.sizes, trainer.batches.layout)
    for name, value in state(trainer).items():
        assert torch.equal(value, before[name]), name
    for value, other in zip(trainer.tables.state(), tables, strict=True):
        assert torch.equal(value, other)
    assert all(parameter.grad is None for parameter in trainer.network.parameters())


def test_players_run_what_they_recorded():
    value = torch.zeros(())
    done = []

    def step(size):
        done.append(size)
        value.add_(size)

    recorder = PretendRecorder()
    player = StepPlayer(step, lambda: [value], recorder)
    player.prepare([3, 3, 2], "a")
    player.prepare([3, 2], "a")
    assert len(recorder.recorded) == 2
    assert value == 0
    done.clear()
    for size in (3, 3, 2):
        player.run(size)
    assert (done, value.item()) == ([3, 3, 2], 8)
    player.prepare([3], "b")
    assert len(recorder.recorded) == 3
    with pytest.raises(KeyError):
        player.run(2)  # not prepared


def test_snapshots_go_back_into_the_same_memory():
    weight = torch.nn.Parameter(torch.ones(3))
    counter = torch.tensor(4)
    saved = Snapshot([weight, counter])
    place = weight.data_ptr()
    with torch.no_grad():
        weight.add_(1)
        counter.add_(1)
    saved.restore()
    saved.restore()
    assert weight.tolist() == [1, 1, 1]
    assert counter == 4
    assert weight.data_ptr() == place


def test_the_way_a_gpu_gathers_trains_the_same_network(setup, few_digits, tiny_network):
    by_rows = Setup(few_digits, tiny_network).trainer(count=200)
    by_index = setup.trainer(count=200)
    assert isinstance(by_index.batches, ViewBatches)
    assert by_index.batches.bank.by_index > by_rows.batches.bank.by_index
    for trainer in (by_rows, by_index):
        fit(trainer, setup.test)
    assert_equal_states(by_rows, by_index)


class PretendCuda:
    """torch.cuda as far as a recording uses it; notes what happens, in order."""

    def __init__(self, monkeypatch):
        self.events, self.current, self.mode = [], "lane", 0
        real = inspect.signature(torch.cuda.graph.__init__)
        cuda = self

        class Stream:
            def __init__(self, device=None):
                self.name = "side"

            def wait_stream(self, other):
                cuda.events.append(f"side waits for {getattr(other, 'name', other)}")

        class Current:
            name = "lane"

            def wait_stream(self, other):
                cuda.events.append("lane waits for side")

        class Graph:
            def replay(self):
                cuda.events.append("replay")

        class Recording:
            def __init__(self, graph, **options):
                real.bind(self, graph, **options)
                assert options["capture_error_mode"] == "thread_local"
                given_up = "give up the pool" in cuda.events
                assert options.get("pool") == (None if given_up else "pool")

            def __enter__(self):
                cuda.current = "recording"
                cuda.events.append("begin")

            def __exit__(self, kind, error, traceback):
                cuda.events.append("end")  # CUDA's stays on its stream after an error
                if kind is None:
                    cuda.current = "lane"

        for name, value in {
            "device": lambda device: contextlib.nullcontext(),
            "Stream": Stream,
            "current_stream": Current,
            "stream": self.on_stream,
            "set_stream": lambda stream: setattr(cuda, "current", stream.name),
            "CUDAGraph": Graph,
            "graph": Recording,
            "graph_pool_handle": lambda: "pool",
            "current_device": lambda: 0,
            "get_sync_debug_mode": lambda: self.mode,
            "set_sync_debug_mode": lambda mode: setattr(cuda, "mode", mode),
        }.items():
            monkeypatch.setattr(torch.cuda, name, value)
        monkeypatch.setattr(torch._C, "_cuda_endAllocateToPool", self.give_up_pool, raising=False)
        monkeypatch.setattr(
            torch._C,
            "_cuda_clearCublasWorkspaces",
            lambda: self.events.append("clear workspaces"),
            raising=False,
        )

    def give_up_pool(self, device, pool):
        assert (device, pool) == (0, "pool")
        self.events.append("give up the pool")
        raise RuntimeError("not recording to this pool")  # as torch 2.12 says, which has done it

    @contextlib.contextmanager
    def on_stream(self, stream):
        before, self.current = self.current, stream.name
        try:
            yield
        finally:
            self.current = before


def test_the_order_of_a_recording(monkeypatch):
    cuda = PretendCuda(monkeypatch)
    recorder = recorder_for(torch.device("cuda", 0))
    modes, collecting = [], []

    def body():
        modes.append(cuda.mode)
        collecting.append(gc.isenabled())
        cuda.events.append(f"body on {cuda.current}")

    replay = recorder(body, lambda: cuda.events.append("restore"))
    warm_up = ["body on side", "restore"] * 3
    recording = ["begin", "body on recording", "end"]
    assert cuda.events == [
        "side waits for lane",
        *warm_up,
        "lane waits for side",
        "clear workspaces",  # after the last warm-up, which leaves one on the stream
        *recording,
        "clear workspaces",
        "lane waits for side",
    ]
    assert modes == [0, "error", "error", 0]  # the first run sets libraries up
    assert collecting == [True, True, True, False]
    assert gc.isenabled()
    assert cuda.current == "lane"
    replay()
    assert cuda.events[-1] == "replay"


@pytest.mark.parametrize("run", [0, 1, 3], ids=["first", "warm", "recording"])
def test_a_recording_that_fails_leaves_the_stream_and_the_mode(monkeypatch, run):
    cuda = PretendCuda(monkeypatch)
    runs = []

    def body():
        runs.append(1)
        if len(runs) == run + 1:
            raise RuntimeError("cannot")

    with pytest.raises(RuntimeError, match="cannot"):
        recorder_for(torch.device("cuda", 0))(body, lambda: None)
    assert (cuda.current, cuda.mode) == ("lane", 0)
    assert "lane waits for side" in cuda.events
    assert ("give up the pool" in cuda.events) == (run == 3)
    assert gc.isenabled()


def test_the_reason_is_what_went_wrong_first():
    def record():
        try:
            raise RuntimeError("operation not permitted\nSearch for it")
        finally:
            raise RuntimeError("the recording was invalidated")

    with pytest.raises(RuntimeError, match="invalidated") as caught:
        record()
    assert reason(caught.value) == "operation not permitted"
    assert reason(RuntimeError()) == "RuntimeError"
