"""What is the user's to mend: every such error of ours is a `DecantError`, and its text says how.

Below it, each beside the code that raises it: `ParamsError` (core), `DatasetError` (core), `PublishError`
(core), `CheckpointError` (models), `NonFiniteLossError`, `RanksError` and `WorkerError` (training),
`StoreError` with its family (store/format), `ResultsError` (results).
"""


class DecantError(ValueError):
    """A mistake, a damaged file or a machine's refusal; the message says what it is and what helps."""


def is_mistake(error: BaseException) -> bool:
    """Whether an error was raised for the user's sake rather than by a fault of ours."""
    return isinstance(error, ValueError | OSError)
