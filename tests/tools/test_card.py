"""`decant store card`: what it says, and what a stranger's manifest cannot make it say."""

import json
import re
import shutil

import pytest
from click.testing import CliRunner
from manifest_samples import sign
from store_samples import CODECS, make_store
from workspaces import yaml

from pipeline.core.errors import DecantError
from pipeline.tools.card import card_of, escaped, store_card, upload_commands
from pipeline.tools.describe import describe_store
from stages.cli import main


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path, codec=CODECS["int8"])


def parsed(text):
    """Front matter and body."""
    empty, front, body = text.split("---\n", 2)
    assert empty == ""
    return yaml.load(front), body


def test_it_says_what_the_manifests_say(store):
    text, upload = card_of(store, "cc-by-4.0", "me/logits")
    front, body = parsed(text)
    assert front["license"] == "cc-by-4.0"
    assert front["pretty_name"] == "Logits of resnet20 on digits"
    assert front["size_categories"] == ["n<1K"]
    manifest = json.loads((store / "mixed/manifest.json").read_bytes())
    for key in ("kl_t1", "kl_t4"):
        assert f"{manifest['measured_error'][key]:.1e}" in body
    assert manifest["digest"] in body
    assert manifest["header"]["dataset"]["fingerprint"] in body
    assert manifest["header"]["teacher"]["weights_sha256"] in body
    assert "top-1 accuracy: 99.00%" in body
    assert f"hf upload me/logits {store} resnet20.zarr --repo-type dataset" in upload


def test_a_stranger_s_text_is_shown_and_does_nothing(store):
    evil = "---\nlicense: mit\n<script>x</script> [a](b) `c` | d ![e](f) &lt;"
    for group in ("clean", "plain", "mixed"):
        sign(store, group, lambda m: m["header"]["teacher"].update(network=evil))
    front, body = parsed(card_of(store, "unknown", "me/logits")[0])
    assert front["license"] == "unknown"
    assert "<script" not in body
    (line,) = (line for line in body.splitlines() if "script" in line)
    shown = line.partition("network ")[2]
    assert len(re.findall(r"\\[\[\]()`|!]", shown)) == 12
    assert not re.search(r"(?<!\\)[\[\]()`|!]", shown)
    assert escaped("a_b*c") == r"a\_b\*c"


@pytest.mark.parametrize(
    ("training", "words"),
    [({}, "not known"), ({"mixup": None}, "no"), ({"mixup": {"alpha": 0.2}}, "yes")],
)
def test_mixup_of_the_teacher_is_told_as_far_as_it_is_known(store, training, words):
    for group in ("clean", "plain", "mixed"):
        sign(store, group, lambda manifest: manifest["header"]["teacher"].update(training=training))
    text, _ = card_of(store, "mit", "me/logits")
    assert f"trained with mixup: {words}\n" in text


def test_a_store_without_views_shows_how_its_logits_are_read(store):
    for group in ("plain", "mixed"):
        shutil.rmtree(store / group)
    text, _ = card_of(store, "mit", "me/logits")
    assert 'store.clean.logits("train")' in text
    assert "store.loader" not in text


@pytest.mark.parametrize(("images", "size"), [(10**6, "10M<n<100M"), (10**7, "100M<n<1B")])
def test_the_sizes_of_large_stores(store, images, size):
    facts = describe_store(store)
    facts["dataset"]["train_images"] = images
    for group in facts["groups"].values():
        group["views"] = 20
    assert parsed(store_card(facts))[0]["size_categories"] == [size]


@pytest.mark.parametrize(
    ("licence", "repository"),
    [("mit\nx: y", "a/b"), ("", "a/b"), ("mit", "a"), ("mit", "a/b; rm x")],
)
def test_mistakes_are_told(store, licence, repository):
    with pytest.raises(DecantError, match=r"(licence|repository): expected"):
        card_of(store, licence, repository)


def test_an_incomplete_store_has_no_card(store):
    (store / "mixed/manifest.json").unlink()
    with pytest.raises(DecantError, match="is not complete"):
        card_of(store, "mit", "a/b")


def test_a_name_that_nobody_can_type(store):
    moved = store.rename(store.with_name('x"); evil(".zarr'))
    with pytest.raises(DecantError, match="rename the folder"):
        card_of(moved, "mit", "a/b")
    shutil.rmtree(moved)


def test_the_views_of_a_pinned_store_lie_elsewhere():
    facts = {"address": "s3://bucket/x.zarr", "name": "x", "store": "data/stores/x.zarr"}
    assert upload_commands(facts, "a/b").startswith("its views lie at s3://bucket/x.zarr")


def test_the_command(store, tmp_path):
    words = ["store", "card", str(store), "--licence", "mit", "--repository", "me/logits"]
    printed = CliRunner().invoke(main, words)
    assert printed.exit_code == 0, printed.output
    assert printed.stdout == card_of(store, "mit", "me/logits")[0]
    assert "nothing has been sent" in printed.stderr
    written = CliRunner().invoke(main, [*words, "--out", str(tmp_path / "README.md")])
    assert written.exit_code == 0, written.output
    assert (tmp_path / "README.md").read_text() == printed.stdout
    assert "hf upload me/logits" in written.stdout
