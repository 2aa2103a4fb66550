"""A store's address in; its manifests on this disk, and the address in params.yaml, out."""

from pathlib import Path

import click

from pipeline.core.files import STORES, VERSIONS
from stages.shared.options import console, load_params, stage_options
from stages.shared.tables import bytes_text
from stages.store.extend import readers


@click.command()
@click.argument("name")
@click.argument("url")
@stage_options
def pin(name: str, url: str, params_path: Path) -> None:
    """Have students read the store at URL in place, under the NAME of a store.

    URL is s3://BUCKET/..., gs://BUCKET/..., https://... or http://.... Metadata and manifests are
    fetched, which list every byte of the views; what lies at URL later is used only as long as it is
    that. The same command takes the version that is there now. Credentials are those of the environment.
    """
    from pipeline.tools.pin import pin_store

    name = name.removesuffix(".zarr")
    pinned = pin_store(name, url, params_path)
    folder = STORES / f"{name}.zarr"
    for group, manifest in pinned.manifests.items():
        views = f"{manifest.views} views, " if manifest.views else ""
        console.print(
            f"{folder}/{group}: {views}{bytes_text(manifest.total_bytes)} at {pinned.address}"
        )
    console.print(f"{params_path}: remote_stores.{name}: {pinned.address}")
    students = readers(load_params(params_path), name, list(pinned.manifests))
    if pinned.changed and students:
        console.print(
            f"Students that the next `decant repro` trains from it: {', '.join(students)}"
        )
    if not pinned.changed:
        console.print("It is the store that was pinned before")
    console.print(
        f"For your teammates: git add --force {folder} && git add {VERSIONS / folder.name} {params_path}"
    )
