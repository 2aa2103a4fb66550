"""docs/store.md: its reader reads what ours reads, and its commands exist."""

import re
from pathlib import Path

import numpy as np
import pytest
from store_samples import CODECS, make_store

from pipeline.store.read import open_store
from stages.store.group import COMMANDS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "store.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("codec", ["dense", "int8"])
def test_the_reader_reads_what_ours_reads(tmp_path, codec):
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    reader = {}
    exec(code, reader)
    store = make_store(tmp_path, codec=CODECS[codec])
    group = open_store(store, groups=["mixed"]).group("mixed")
    for v in range(group.views):
        assert np.array_equal(reader["logits"](store / "mixed", v), group.logits(v))
    plans = reader["read_chunk"](store / "mixed", "lam", "0.0")
    assert np.array_equal(plans[3], group.plan(3).arrays()["lam"])
    path = store / "mixed/logits/c.1.0.0"
    path.write_bytes(path.read_bytes()[:-9] + b"x" + path.read_bytes()[-8:])
    with pytest.raises(AssertionError, match="damaged"):
        reader["logits"](store / "mixed", 1)


def test_every_command_is_told():
    told = set(re.findall(r"^decant store (\S+)", TEXT, re.MULTILINE))
    assert told == COMMANDS.keys()


def test_every_codec_is_told():
    assert {f"`{codec.name}`" for codec in CODECS.values()} <= set(re.findall(r"`\w+`", TEXT))
