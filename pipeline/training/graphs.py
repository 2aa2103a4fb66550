"""Steps as CUDA graphs: recorded once, replayed as a whole, so that the host launches one thing a step.

A small network's step is some hundred kernels of a few microseconds each, which a host cannot launch as
fast as a GPU runs them. A step can be recorded if it acts on fixed memory only and never waits for the
device. One that cannot be is run as it is, and the reason is told once.
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
        """Record what `body` does and return what does it again.

        `body` may be run before; `restore` undoes what it did. Raises RuntimeError where it cannot be
        recorded.
        """


class CudaRecorder:
    """Records CUDA graphs, all of which share their intermediate memory.

    They may, because none leaves anything in it that another one reads, and no two of them run at the
    same time.
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
                # Other threads may allocate meanwhile: one of them reads the next epoch.
                with (
                    workspaces_of_its_own(),
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
                raise
            finally:
                torch.cuda.set_stream(current)  # a failed recording leaves its own one behind
            current.wait_stream(self._stream)
        return graph.replay

    def _give_up_pool(self) -> None:
        """Say that nothing is recorded into the pool any more.

        torch before 2.12 does not where a recording fails, and then neither records nor empties its
        cache again in this process (pytorch #180395); later versions refuse to be told twice.
        """
        with suppress(RuntimeError):
            torch._C._cuda_endAllocateToPool(torch.cuda.current_device(), self._pool)

    def _warm_up(self, body: Callable[[], None], restore: Callable[[], None]) -> None:
        """Run it on the stream that records: libraries set themselves up in the first runs.

        What waits for the device is found here, where an error breaks nothing.
        """
        with torch.cuda.stream(self._stream):
            for run in range(WARM_UP_STEPS):
                with no_waiting() if run else nullcontext():
                    body()
                restore()


@contextmanager
def workspaces_of_its_own() -> Iterator[None]:
    """Inside, cuBLAS gets the memory that it works in from the recording's own pool.

    torch keeps one such workspace a stream and hands its 32 streams out in turn. A graph that took over
    what an earlier training left on the stream would write where that one's graphs do, and would be
    left with memory that is no longer there when they are destroyed (pytorch #193402).
    """
    torch._C._cuda_clearCublasWorkspaces()
    try:
        yield
    finally:
        torch._C._cuda_clearCublasWorkspaces()


@contextmanager
def no_collection() -> Iterator[None]:
    """Inside, no garbage is collected: a trainer that has ended would take its graphs with it, and to
    destroy one graph breaks the recording of another."""
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
    """Inside, an operation that waits for the device raises RuntimeError, as it would in a recording."""
    before = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the mode warns that it does not find everything
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode(before)


def recorder_for(device: torch.device) -> Recorder | None:
    """What records steps on a device; None where there is nothing to gain."""
    return CudaRecorder(device) if device.type == "cuda" else None


class StepPlayer:
    """Runs steps of some sizes: recordings of them, where there is a recorder and it can, else the steps.

    Args:
        step: size -> nothing; acts on fixed memory.
        state: the tensors that steps change, put back after a recording.
        warn: told why steps are not recorded.
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
        """Record steps of these sizes, unless that is done.

        The layout is what else a recording depends on: where another epoch's is a new one, steps are
        recorded anew.
        """
        self._layout = layout
        missing = [size for size in dict.fromkeys(sizes) if (size, layout) not in self._recorded]
        if self.recorder is None or not missing:
            return
        saved = Snapshot(self._state())
        try:
            for size in missing:
                self._recorded[size, layout] = self.recorder(
                    partial(self._step, size), saved.restore
                )
        except RuntimeError as error:
            self.recorder = None
            self._recorded.clear()
            self._warn(
                f"steps are run one operation at a time, not as a CUDA graph: {reason(error)}"
            )
        saved.restore()

    def run(self, size: int) -> None:
        """Do one step."""
        if self.recorder is None:
            self._step(size)
        else:
            self._recorded[size, self._layout]()


def reason(error: BaseException) -> str:
    """The first line of what went wrong first: the end of a broken recording is an error of its own."""
    while isinstance(error.__context__, RuntimeError):
        error = error.__context__
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


class Snapshot:
    """The present values of some tensors."""

    def __init__(self, tensors: Iterable[Tensor]) -> None:
        self._values = [(tensor, tensor.detach().clone()) for tensor in tensors]

    @torch.no_grad()
    def restore(self) -> None:
        """Put them back into the same memory."""
        for tensor, value in self._values:
            tensor.copy_(value)
