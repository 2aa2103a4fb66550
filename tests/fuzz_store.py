"""Coverage-guided fuzzing of everything that reads a store: `make fuzz`, or

    python tests/fuzz_store.py --seconds 300 --corpus FOLDER

Needs the extra `fuzz` (atheris). It ends at the first exception that is no refusal, at an input that
takes 20 s, or at 1 GB more memory than at the start, and leaves the input as a file `crash-...`;
`python tests/fuzz_store.py crash-...` runs that again. Inputs that reach new code are kept in the
corpus, with which the next run starts.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import atheris

sys.path[:0] = [str(Path(__file__).resolve().parent), str(Path(__file__).resolve().parent.parent)]
MODULES = ["pipeline.store", "pipeline.core.params", "pipeline.views.plans"]
with atheris.instrument_imports(include=MODULES):
    import hostile_stores
    from store_samples import CODECS

    from pipeline.store.read import open_store
    from pipeline.tools.export import export_store

EXTRA_BYTES = 2**30
INPUT_BYTES = 600
SEEDS = 64


class Fuzzer:
    """One input, one attack; the first byte says which."""

    def __init__(self, folder: Path) -> None:
        names = hostile_stores.NAMES
        self.stores = {n: hostile_stores.HostileStore(folder / n, CODECS[n]) for n in names}
        exported = open_store(self.stores["dense"].path, groups=["clean", "mixed"])
        export_store(exported, "npz", folder / "npz")
        self.files = [path.read_bytes() for path in sorted((folder / "npz").iterdir())]
        self.npz = folder / "hostile.npz"

    def __call__(self, data: bytes) -> None:
        """Attack with an input; what comes out is a finding."""
        choices = hostile_stores.Choices(data)
        kind = choices.below(8)
        if kind == 0:
            group = choices.of(hostile_stores.GROUPS)
            hostile_stores.attack_manifest(choices.take(INPUT_BYTES).rstrip(b"\0"), group)
        elif kind == 1:
            raw = choices.of(self.files)
            while choices:
                raw = hostile_stores.spliced(raw, choices)
            self.npz.write_bytes(raw)
            hostile_stores.attack_npz(self.npz)
        else:
            store = self.stores[choices.of(hostile_stores.NAMES)]
            with store.damaged(choices) as path:
                hostile_stores.attack(path, store.other, choices)


def main() -> None:
    """Fuzz for a while, or run given inputs once."""
    parser = argparse.ArgumentParser(description="Fuzz everything that reads a store.")
    parser.add_argument("inputs", nargs="*", help="Run these files once instead.")
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--corpus", type=Path, default=None)
    options = parser.parse_args()
    os.fsync = lambda handle: None
    fast = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="decant-fuzz-", dir=fast) as folder:
        child = os.fork()  # the fuzzer ends its process itself, and would leave the folder behind
        if child == 0:
            run(options, Path(folder))
            os._exit(0)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    sys.exit(code)


def run(options: argparse.Namespace, folder: Path) -> None:
    """Fuzz, or run inputs, with stores in a folder."""
    fuzzer = Fuzzer(folder)
    memory = hostile_stores.limited_memory(EXTRA_BYTES)
    memory.__enter__()  # for good
    for name in options.inputs:
        fuzzer(Path(name).read_bytes())
        print(f"{name}: refused, or read without harm")
    if options.inputs:
        return
    corpus = options.corpus or folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number in range(SEEDS):
        seed = bytes((number * 37 + k * (number + 3) * 11) % 256 for k in range(150))
        (corpus / f"seed-{number}").write_bytes(bytes([number]) + seed)
    flags = [f"-max_total_time={options.seconds}", f"-max_len={INPUT_BYTES}", "-timeout=20"]
    flags += ["-rss_limit_mb=4096", "-print_final_stats=1", "-len_control=0"]
    atheris.Setup([sys.argv[0], *flags, str(corpus)], fuzzer)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
