"""Steps as CUDA graphs: recorded once, then replayed with a single launch per step.

A step of a small network is some hundred kernels of a few microseconds each, which a host cannot launch as
fast as a GPU runs them. A step can be recorded if it uses fixed memory only, never waits for the device and
draws no random numbers: networks that train together would share a generator, and what the host draws would
be the same in each replay. Other steps run one operation at a time, and a warning says why.
"""

import gc
import logging
import warnings
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Protocol

import torch
from torch import Tensor

WARM_UP_STEPS = 3

Warn = Callable[[str], None]
warn: Warn = logging.getLogger("decant").warning


class Recorder(Protocol):
    """Records a function of no arguments."""

    def __call__(self, body: Callable[[], None], restore: Callable[[], None]) -> Callable[[], None]:
        """Record `body` and return a function that repeats it.

        `body` may be called before it is recorded; `restore` undoes a call. Raises RuntimeError where
        it cannot be recorded.
        """


class CudaRecorder:
    """Records CUDA graphs that share one pool of intermediate memory.

    Sharing is safe: no graph reads from the pool what another one left there, and no two of them run at
    the same time.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        with torch.cuda.device(device):
            self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
            self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, body: Callable[[], None], restore: Callable[[], None]) -> Callable[[], None]:
        """See `Recorder`."""
        with torch.cuda.device(self.device):
            current = torch.cuda.current_stream()
            self._stream.wait_stream(current)
            try:
                self._warm_up(body, restore)
            finally:
                current.wait_stream(self._stream)
            graph = torch.cuda.CUDAGraph()
            try:
                # thread_local: the thread that reads the next epoch may allocate memory meanwhile.
                with (
                    fresh_workspaces(),
                    no_collection(),
                    torch.cuda.graph(
                        graph,
                        pool=self._pool,
                        stream=self._stream,
                        capture_error_mode="thread_local",
                    ),
                ):
                    body()
            except RuntimeError:
                self._give_up_pool()
                self._record_nothing()
                raise
            finally:
                torch.cuda.set_stream(current)  # a failed recording leaves its own stream set
            current.wait_stream(self._stream)
        return graph.replay

    def _give_up_pool(self) -> None:
        """Tell torch that nothing is recorded into the pool any more.

        Before 2.12 torch does not do so itself when a recording fails, and can then neither record nor
        empty its cache again in this process (pytorch #180395). Later versions refuse a second call.
        """
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)

    def _record_nothing(self) -> None:
        """Record a graph of nothing, so that other graphs can be replayed after a recording that failed.

        Before 2.12 torch takes the generator for part of the failed one until another ends, and refuses
        replays and random numbers meanwhile (pytorch #176752).
        """
        nothing = torch.cuda.CUDAGraph()
        with warnings.catch_warnings(), suppress(RuntimeError):
            warnings.simplefilter("ignore")  # torch warns that the graph is empty
            with torch.cuda.graph(nothing, stream=self._stream, capture_error_mode="thread_local"):
                pass

    def _warm_up(self, body: Callable[[], None], restore: Callable[[], None]) -> None:
        """Call it a few times on the recording stream, so that libraries initialise themselves.

        An operation that waits for the device raises here, where an error breaks nothing.
        """
        with torch.cuda.stream(self._stream):
            for attempt in range(WARM_UP_STEPS):
                with no_waiting() if attempt else nullcontext():
                    body()
                restore()


@contextmanager
def fresh_workspaces() -> Iterator[None]:
    """Inside, cuBLAS allocates its workspaces from the recording's own pool.

    torch keeps one workspace per stream and hands out its 32 streams in turn. A graph that reused the
    workspace of an earlier network on that stream would write to the same memory as that network's
    graphs, and the memory would be gone once those are destroyed (pytorch #193402).
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


@contextmanager
def no_collection() -> Iterator[None]:
    """Inside, no garbage is collected: destroying the graphs of a finished trainer breaks a recording."""
    gc.collect()
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


@contextmanager
def no_waiting() -> Iterator[None]:
    """Inside, an operation that waits for the device raises RuntimeError, as in a recording."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that this mode misses some operations
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def recorder_for(device: torch.device) -> Recorder | None:
    """The recorder of a device; None for a CPU, where nothing is gained."""
    return CudaRecorder(device) if device.type == "cuda" else None


class StepPlayer:
    """Runs steps, from recordings where there is a recorder and the step can be recorded.

    Args:
        step: takes the batch size; reads and writes fixed memory.
        state: the tensors that a step changes; restored after recording.
        warn: receives the reason why steps cannot be recorded.

    >>> player = StepPlayer(lambda size: print("a step of", size), list, recorder=None)
    >>> player.prepare([64, 8], layout=None)
    >>> player.run(64)
    a step of 64
    """

    def __init__(
        self,
        step: Callable[[int], None],
        state: Callable[[], Iterable[Tensor]],
        recorder: Recorder | None,
        warn: Warn = warn,
    ) -> None:
        self._step, self._state = step, state
        self.recorder, self._warn = recorder, warn
        self._recorded: dict[tuple[int, Hashable], Callable[[], None]] = {}
        self._layout: Hashable = None

    @property
    def records(self) -> bool:
        """Whether steps are replayed."""
        return self.recorder is not None

    def prepare(self, sizes: Sequence[int], layout: Hashable) -> None:
        """Record a step of each of these sizes that has no recording for this layout yet.

        The layout identifies the memory that the epoch's tables are in (`ViewBatches.layout`).
        """
        self._layout = layout
        missing = [size for size in dict.fromkeys(sizes) if (size, layout) not in self._recorded]
        if self.recorder is None or not missing:
            return
        saved, generators = Snapshot(self._state()), _generators()
        try:
            for size in missing:
                self._recorded[size, layout] = self.recorder(
                    partial(self._step, size), saved.restore
                )
            if _generators() != generators:
                raise RuntimeError("the network or the loss draws random numbers")
        except torch.OutOfMemoryError:
            raise  # beside others: without them there may be room
        except RuntimeError as error:
            self.recorder = None
            self._recorded.clear()
            self._warn(
                f"steps are run one operation at a time, not as a CUDA graph: {reason(error)}"
            )
        saved.restore()

    def run(self, size: int) -> None:
        """Do one step of this batch size."""
        if self.recorder is None:
            self._step(size)
        else:
            self._recorded[size, self._layout]()


def _generators() -> list[bytes]:
    """The states of torch's generators, of the CPU and of all GPUs."""
    states = [torch.get_rng_state(), *torch.cuda.get_rng_state_all()]
    return [state.numpy().tobytes() for state in states]


def reason(error: BaseException) -> str:
    """The first line of the original error: a broken recording raises another one when it ends.

    >>> reason(RuntimeError("operation not permitted\\nmore"))
    'operation not permitted'
    """
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class Snapshot:
    """A copy of the present values of some tensors.

    >>> weights = torch.ones(2)
    >>> before = Snapshot([weights])
    >>> weights.zero_()
    tensor([0., 0.])
    >>> before.restore()
    >>> weights
    tensor([1., 1.])
    """

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._values = [(tensor, tensor.detach().clone()) for tensor in tensors]

    @torch.no_grad()
    def restore(self) -> None:
        """Write the values back into the same memory."""
        for tensor, value in self._values:
            tensor.copy_(value)
