"""All of params.yaml in, a constant file out: every mistake is listed before any work starts.

Every stage depends on the file, which never changes, so nothing is recomputed for its sake.
"""

import sys
from pathlib import Path

import click

from pipeline.core.files import write_changed
from pipeline.core.params import ParamsError
from stages.shared.options import json_option, load_params, path_option, print_json, stage_options

CHECKED = Path("data/checked.txt")


@click.command()
@path_option("--out", CHECKED, "File to write.")
@json_option
@stage_options
def check(params_path: Path, out: Path, as_json: bool) -> None:
    """Validate all of params.yaml at once."""
    from pipeline.planning.checker import check_all

    try:
        check_all(load_params(params_path), params_path)
    except ParamsError as error:
        if not as_json:
            raise
        print_json({"file": str(params_path), "problems": error.problems})
        sys.exit(1)
    # DVC's hard link of an earlier run is read-only, and its cache has the same file.
    write_changed(out, b"params.yaml is valid\n")
    if as_json:
        print_json({"file": str(params_path), "problems": []})
    else:
        click.echo(f"{params_path} is valid")


if __name__ == "__main__":
    check()
