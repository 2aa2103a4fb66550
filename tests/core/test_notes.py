"""`metrics.jsonl` is appended to, mended after a kill, and read as far as it is whole; notes."""

import json
import math

import pytest

from pipeline.core.notes import WorkNote, log_epochs, read_epochs

ROWS = [{"train_loss": 1.0 / (epoch + 1), "test_loss": math.nan} for epoch in range(4)]


def epochs_of(file):
    return [line["epoch"] for line in read_epochs(file)]


def test_a_line_is_added_and_the_others_stay(tmp_path):
    file = tmp_path / "metrics.jsonl"
    for epoch in range(4):
        before = file.read_bytes() if file.exists() else b""
        inode = file.stat().st_ino if epoch else None
        log_epochs(file, 9, ROWS[: epoch + 1])
        assert file.read_bytes().startswith(before)
        assert inode in (None, file.stat().st_ino) or epoch == 1
    assert epochs_of(file) == [1, 2, 3, 4]
    last = json.loads(file.read_text().splitlines()[-1])
    assert last["test_loss"] is None
    assert (last["epochs"], last["train_loss"]) == (9, 0.25)


@pytest.mark.parametrize("left", ["", '{"epoch": 1', '{"epoch": 1}\n{"epo', "x\n" * 7])
def test_a_file_that_does_not_fit_is_written_anew(tmp_path, left):
    file = tmp_path / "metrics.jsonl"
    log_epochs(file, 9, ROWS[:2])
    kept = file.read_text().splitlines()[0] + "\n"
    file.write_text(kept + left)
    log_epochs(file, 9, ROWS)
    assert file.read_text().startswith(kept)
    assert epochs_of(file) == [1, 2, 3, 4]
    assert len(file.read_text().splitlines()) == 4


def test_a_training_that_went_back_goes_on_from_there(tmp_path):
    file = tmp_path / "metrics.jsonl"
    log_epochs(file, 9, ROWS)
    log_epochs(file, 9, ROWS[:2])  # a checkpoint of two epochs
    assert epochs_of(file) == [1, 2]


def test_a_folder_that_is_gone_is_no_mistake(tmp_path):
    log_epochs(tmp_path / "gone" / "metrics.jsonl", 9, ROWS)
    assert read_epochs(tmp_path / "gone" / "metrics.jsonl") == []


def test_reading_stops_at_what_is_damaged(tmp_path):
    file = tmp_path / "metrics.jsonl"
    log_epochs(file, 9, ROWS)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join([*lines[:2], "[]\n", *lines[2:]]))
    assert epochs_of(file) == [1, 2]


def test_a_note_is_read_as_it_was_written(tmp_path):
    note = WorkNote(("train_student@a", "train_student@b"), replicates=3, epochs=240)
    note.write(tmp_path)
    assert WorkNote.of(tmp_path) == note
    assert WorkNote.of(tmp_path / "none") is None
