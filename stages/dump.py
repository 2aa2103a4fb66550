"""A teacher's weights and prepared data in, its store out (`data/stores/TEACHER.zarr`).

Which version of it that is goes to `data/versions/TEACHER.zarr`, small files that are kept in git.
Three groups: clean images, plain views and mixed views.
"""

from pathlib import Path

import click

from pipeline.core.files import PREPARED, STORES, TEACHERS, VERSIONS, WORK
from pipeline.core.params import ParamsError
from stages.shared.completion import entries
from stages.shared.nearest import unknown
from stages.shared.options import console, load_params, path_option, stage_options
from stages.shared.progress import ProgressDisplay
from stages.shared.settings import setting_options


@click.command()
@click.argument("teacher", shell_complete=entries("dumps"))
@path_option("--prepared", PREPARED, "Prepared data set.")
@path_option("--teachers", TEACHERS, "Folder of the trained teachers.")
@path_option("--out", None, "Store to write.  [default: data/stores/TEACHER.zarr]")
@stage_options
@setting_options
def dump(teacher: str, params_path: Path, prepared: Path, teachers: Path, out: Path | None) -> None:
    """Dump logits and features of the teacher TEACHER of params.yaml into its store."""
    from pipeline.dump.teacher import dump_teacher

    content = load_params(params_path)
    if teacher not in (valid := content.get("dumps") or ()):
        raise ParamsError([unknown("dump", teacher, valid)])
    target = out or STORES / f"{teacher}.zarr"
    versions = VERSIONS / target.name if out is None else None
    with ProgressDisplay("images") as display:
        dumped = dump_teacher(
            teacher, content, prepared, teachers / teacher, target, display, versions=versions
        )
    console.print(f"store of {teacher}: {', '.join(dumped.groups)} -> {target}")
    if dumped.kept:
        console.print(
            f"store of {teacher}: all {' and '.join(dumped.kept)} views were dumped before (kept in "
            f"{WORK}); `decant clean` first dumps them anew"
        )


if __name__ == "__main__":
    dump()
