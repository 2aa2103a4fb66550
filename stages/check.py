"""All of params.yaml in, a constant file out: every mistake is listed before any work starts.

Every stage depends on the file, which never changes, so nothing is recomputed for its sake.
"""

from pathlib import Path

import click

from stages.shared.options import load_params, path_option, stage_options

CHECKED = Path("data/checked.txt")


@click.command()
@path_option("--out", CHECKED, "File to write.")
@stage_options
def check(params_path: Path, out: Path) -> None:
    """Validate all of params.yaml at once."""
    from pipeline.planning.checker import check_all

    check_all(load_params(params_path), params_path)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text("params.yaml is valid\n", encoding="ascii")
    click.echo(f"{params_path} is valid")


if __name__ == "__main__":
    check()
