"""The environment: Python, the packages, torch and its devices, torchvision."""

import platform
import shutil
import sys
import tomllib
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from pipeline.core.machine import available_cores
from stages.doctor.finding import Finding
from stages.shared.tables import bytes_text

_PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"
_INSTALL = (
    "install what Decant asks for: `pip install -e .` in the project's folder, or `make setup`"
)


def check_python() -> Iterator[Finding]:
    """The interpreter and the machine's cores."""
    cores = available_cores()
    text = (
        f"{platform.python_version()} in {sys.prefix}, {cores} {'core' if cores == 1 else 'cores'}"
    )
    yield Finding("Python", "ok", text)


def check_packages() -> Iterator[Finding]:
    """The versions of the packages, against those that Decant asks for."""
    wrong = [text for text in map(_wrong, needed_packages()) if text]
    if wrong:
        yield Finding("packages", "problem", "; ".join(wrong), _INSTALL)
    else:
        yield Finding("packages", "ok", f"all {len(needed_packages())} that are needed are there")


def needed_packages() -> list[Requirement]:
    """What Decant asks for, without its extras."""
    if _PYPROJECT.exists():
        listed = tomllib.loads(_PYPROJECT.read_text(encoding="utf-8"))["project"]["dependencies"]
    else:
        listed = requires("decant") or []
    needed = map(Requirement, listed)
    return [need for need in needed if need.marker is None or need.marker.evaluate({"extra": ""})]


def _wrong(need: Requirement) -> str:
    """What is wrong with a package, in words; empty where nothing is."""
    try:
        there = version(need.name)
    except PackageNotFoundError:
        return f"{need.name} is not installed"
    if need.specifier.contains(there, prereleases=True):
        return ""
    return f"{need.name} {there}, not {need.specifier}"


def check_torch() -> Iterator[Finding]:
    """torch, and the GPUs that it finds."""
    import torch

    build = f"CUDA {torch.version.cuda}" if torch.version.cuda else "for CPUs"
    name = f"{torch.__version__} ({build})"
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            facts = torch.cuda.get_device_properties(index)
            yield Finding(
                "torch",
                "ok",
                f"{name}; cuda:{index} is {facts.name}, {bytes_text(facts.total_memory)}",
            )
    elif shutil.which("nvidia-smi"):
        advice = (
            "install a build of torch for CUDA, no newer than the driver (`nvidia-smi` names both)"
        )
        yield Finding("torch", "warning", f"{name}; there is a GPU, which torch cannot use", advice)
    else:
        yield Finding("torch", "ok", f"{name}; no GPU: networks are trained on the CPU")


def check_torchvision() -> Iterator[Finding]:
    """torchvision, and whether its compiled operators can be called; Decant itself needs none of them."""
    import torch

    from pipeline.raw.torchvision_compat import torchvision

    name = torchvision.__version__
    try:
        torchvision.ops.nms(torch.tensor([[0.0, 0.0, 1.0, 1.0]]), torch.ones(1), 0.5)
    except (RuntimeError, NotImplementedError):
        yield Finding(
            "torchvision",
            "warning",
            f"{name}; its compiled operators cannot be loaded beside this torch",
            "nothing of Decant needs them; networks of your own may: install torch and torchvision of "
            "one build (both for CPUs, or both for the same CUDA)",
        )
    else:
        yield Finding("torchvision", "ok", f"{name}, with its compiled operators")
