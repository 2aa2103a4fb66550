"""The Python on the pages runs, in order, page by page, in a small project with the names of the tutorial."""

import io
import re
from contextlib import redirect_stdout

import pytest
from doc_pages import ROOT, blocks, read_page
from face_samples import inside, project
from workspaces import digits_params

import decant
from pipeline.report.machine_readable import write_results

PAGES = ("tutorial.md", "python.md", "results.md", "troubleshooting.md")
# Students of the tutorial, in its order; kept results, which have the same seeds, stand for them.
STUDENTS = [
    "kd",
    "kd-soft-only",
    "rescaled",
    "rescaled-pmu50",
    "rescaled-fmu",
    "kd-of-mixup-teacher",
    "kd-t2",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A project with the store of a resnet8 under the name resnet20, and a report's frame."""
    folder = tmp_path_factory.mktemp("pages")
    content = digits_params()
    content["dataset"]["subset_fraction"] = 0.2
    content["teachers"] = {"resnet20": content["teachers"]["resnet8"]}
    content["dumps"] = {"resnet20": content["dumps"]["resnet8"]}
    for group in ("plain", "mixed"):
        content["dumps"]["resnet20"][group] |= {"views": 4, "features": True}
    with inside(folder):
        project(folder, {**content, "students": {}}, teacher="resnet20")
    kept = decant.results(ROOT / "results" / "cifar100-short")
    students = kept["section"] == "students"
    names = dict(zip(kept.loc[students, "name"].unique(), STUDENTS, strict=False))
    kept.loc[students, "name"] = kept.loc[students, "name"].map(names)
    write_results(kept[kept["name"].notna()], folder / "reports" / "results.csv")
    (folder / "results").symlink_to(ROOT / "results")
    return folder


def shape(text):
    """Printed text without its numbers and spaces."""
    return re.sub(r"[-\d.,]+", "#", " ".join(text.split()))


@pytest.mark.parametrize("name", PAGES)
def test_blocks_of_a_page_run(name, folder):
    found = blocks(read_page(f"docs/{name}"))
    assert [block for block in found if block.kind == "python"]
    names = {"__name__": "__main__"}
    printed = ""
    with inside(folder):
        for block in found:
            if block.kind == "python":
                with redirect_stdout(io.StringIO()) as out:
                    exec(compile(block.text, name, "exec"), names)
                printed = out.getvalue()
            elif block.kind == "text" and printed:
                assert shape(printed) == shape(block.text)
