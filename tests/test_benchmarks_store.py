"""The store's benchmark measures what it says; how fast anything is, is not tested."""

import json

import pytest
import torch
from click.testing import CliRunner

from benchmarks import remote
from benchmarks import store as benchmark
from benchmarks.setting import BATCH, Setting, random_images, write_store


@pytest.fixture
def setting(tmp_path) -> Setting:
    data = random_images(4 * BATCH)
    return Setting(
        device=torch.device("cpu"),
        rounds=2,
        steps=1,
        dump_images=64,
        precision="float32",
        folder=tmp_path,
        data=data,
        store=write_store(tmp_path, data, 2),
    )


def test_gathering_is_measured_against_as_many_bytes(setting, monkeypatch):
    monkeypatch.setattr(benchmark, "GATHERS_PER_TURN", 3)
    (found,) = benchmark.gather_figure(setting).values()
    assert found.value is not None
    assert found.value > 0
    assert found.facts["bytes"] == BATCH * len(setting.data.class_names) * 2


def test_what_is_pulled_is_what_was_pushed(tmp_path):
    shared = benchmark.Shared(tmp_path / "shared", lambda path: path.write_bytes(b"numbers"))
    shared.push()
    assert [path.read_bytes() for path in shared.remote.rglob("*") if path.is_file()] == [
        b"numbers"
    ]
    shared.pull()
    assert (shared.project / "data").read_bytes() == b"numbers"


def test_remote_reading_is_measured_against_local(tmp_path):
    pytest.importorskip("obstore")
    out = tmp_path / "remote.json"
    result = CliRunner().invoke(remote.main, ["--quick", "--out", str(out)])
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["ratios"].keys() == remote.TEXTS.keys()
    assert all(ratio > 0 for ratio in content["ratios"].values())


@pytest.mark.slow
def test_the_command_prints_and_writes_every_ratio(tmp_path):
    out = tmp_path / "store.json"
    result = CliRunner().invoke(benchmark.main, ["--quick", "--out", str(out)])
    assert result.exit_code == 0, result.output
    content = json.loads(out.read_text())
    assert content["ratios"].keys() == benchmark.TEXTS.keys()
    assert all(ratio > 0 for ratio in content["ratios"].values())
    facts = content["details"]["push_vs_one_file"]["facts"]
    assert facts["bytes"] > 0
