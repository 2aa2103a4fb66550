"""decant.results: the frame of a report, with its types, and that of kept results."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from workspaces import ROOT

import decant
from pipeline.evaluation.frame import COUNTS, FACTS, NUMBERS, TEXTS
from pipeline.report.machine_readable import write_results

KEPT = ROOT / "results" / "cifar100-short"


@pytest.fixture(scope="module")
def kept():
    return decant.results(KEPT)


def test_kept_results_have_a_row_for_each_replicate(kept):
    files = sorted(KEPT.glob("*/*.json"))
    assert len(files) > 15
    assert set(kept["name"]) == {path.stem for path in files}
    assert kept["top1_accuracy"].between(0.2, 0.8).all()
    assert kept["configuration"].notna().all()
    assert kept.filter(like="v_score_").notna().all(axis=None)


def test_columns_have_their_types(kept):
    for names, kind in ((TEXTS, "string"), (COUNTS, "int64"), ((*FACTS, *NUMBERS), "float64")):
        assert {str(kept[name].dtype) for name in names} == {kind}
    told = (ROOT / "docs" / "results.md").read_text(encoding="utf-8")
    assert "Text is `string`, counts are `int64`, other numbers `float64`" in told


def test_a_report_gives_the_same_frame(kept, tmp_path, monkeypatch):
    """Written and read again, from each of its places."""
    (tmp_path / "data/stores").mkdir(parents=True)
    (tmp_path / "docs").mkdir()
    path = tmp_path / "reports" / "results.csv"
    write_results(kept, path)
    monkeypatch.chdir(tmp_path / "docs")
    for where in (None, path, str(path.parent), "reports"):
        pd.testing.assert_frame_equal(decant.results(where), kept)
    parquet = pytest.importorskip("pyarrow") and tmp_path / "results.parquet"
    write_results(kept, path, parquet)
    pd.testing.assert_frame_equal(decant.results(parquet), kept)


def test_names_that_look_like_something_else_stay_text(kept, tmp_path):
    path = tmp_path / "results.csv"
    write_results(kept.head(3).assign(name=["nan", "007", "1e5"]), path)
    assert decant.results(path)["name"].tolist() == ["nan", "007", "1e5"]
    assert np.isnan(decant.results(path)["views"]).all()


def test_mistakes_are_told(kept, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(decant.DecantError, match=r"no such report .`decant evaluate`"):
        decant.results()
    with pytest.raises(decant.DecantError, match=r"neither a report .* nor kept results"):
        decant.results(tmp_path)
    Path("results.csv").write_text("a,b\n1,2\n")
    with pytest.raises(decant.DecantError, match="a report of another version: it has no column"):
        decant.results("results.csv")
    Path("results.csv").write_bytes(b"\xff\x00,\n\n1,2,3\n")
    with pytest.raises(decant.DecantError):
        decant.results("results.csv")
    shutil.copytree(KEPT / "teachers", tmp_path / "kept/teachers")
    Path("kept/teachers/resnet20.json").write_text("{}")
    with pytest.raises(decant.DecantError, match="holds no kept results"):
        decant.results("kept")
