"""A constraints file of the lowest versions that pyproject.toml allows, for `make test-lowest`.

Torch, torchvision and the tools that run the tests keep their versions of constraints.txt; so do the
packages that ours stand on, wherever these older ones go along with that. uv resolves; it installs nothing.

    python tests/lowest_versions.py .venv-lowest/constraints.txt
"""

import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TORCH = ("torch", "torchvision")
TOOLS = ("hypothesis", "pytest", "pytest-timeout", "pytest-xdist")
EXTRAS = ("parquet", "remote", "ssh")


def main(target: Path) -> None:
    """Write the file. Ends with a message where a bound names a version that cannot be had."""
    bounds, pinned = lower_bounds(), read_versions((ROOT / "constraints.txt").read_text())
    kept = {name: version for name, version in pinned.items() if name not in bounds}
    resolved = resolve(kept)
    if problems := [
        f"{name}>={bound} in pyproject.toml: the lowest version that can be had is {resolved[name]}"
        for name, bound in bounds.items()
        if not same_release(bound, resolved[name])
    ]:
        sys.exit("\n".join(problems))
    target.write_text(as_text({**kept, **resolved}))


def lower_bounds() -> dict[str, str]:
    """What pyproject.toml says that is the lowest version of each package but torch's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in EXTRAS:
        wanted += project["optional-dependencies"][extra]
    matches = [re.match(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in wanted]
    assert all(matches), f"a package without a lowest version: {wanted}"
    bounds = {normalised(match[1]): match[2] for match in matches if match}
    return {name: version for name, version in bounds.items() if name not in TORCH}


def resolve(kept: dict[str, str]) -> dict[str, str]:
    """The lowest versions of our packages, and `kept` or the newest that fit of all others."""
    with tempfile.TemporaryDirectory() as folder:
        tools, absent, out = (Path(folder, name) for name in ("tools.in", "absent.txt", "out.txt"))
        tools.write_text(as_text({name: kept[name] for name in TOOLS}))
        # uv would look up a build for CUDA, and all that it stands on.
        absent.write_text("".join(f'{name}; python_version < "3"\n' for name in TORCH))
        out.write_text(as_text(kept))  # uv keeps the versions of an output that is there
        command = [sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--no-annotate"]
        command += ["--resolution", "lowest-direct", "--override", str(absent), "-o", str(out)]
        command += [f"--extra={extra}" for extra in EXTRAS]
        subprocess.run([*command, "pyproject.toml", str(tools)], cwd=ROOT, check=True)
        return read_versions(out.read_text())


def read_versions(text: str) -> dict[str, str]:
    """Versions by name, of a file of constraints."""
    pairs = re.findall(r"^([\w.-]+)==([^\s;]+)", text, re.MULTILINE)
    return {normalised(name): version for name, version in pairs}


def as_text(versions: dict[str, str]) -> str:
    """A file of constraints."""
    return "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))


def normalised(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def same_release(one: str, other: str) -> bool:
    """Whether two versions differ in zeros at the end alone."""
    return re.sub(r"(\.0)+$", "", one) == re.sub(r"(\.0)+$", "", other)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
