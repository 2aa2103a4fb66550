"""A README for a store on a model hub: what it is, what it cost, and how to train from it.

The manifests may be a stranger's: their text can neither end the front matter nor become markup.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from shlex import quote
from typing import Any

from pipeline.core.errors import DecantError
from pipeline.tools.describe import describe_store

REPOSITORY = "OWNER/NAME"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_LICENCE = re.compile(r"[a-z0-9][a-z0-9.+-]{0,49}")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)
_MARKUP = re.compile(r"([\\`*_{}\[\]()#+!|~$:@-])")
_SIZES = (
    *((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M")),
    *((1e7, "1M<n<10M"), (1e8, "10M<n<100M"), (1e9, "100M<n<1B")),
)
_LARGEST = "1B<n<10B"
_ANSWER = {True: "yes", False: "no", None: "not known"}

Facts = Mapping[str, Any]


def store_card(facts: Facts, licence: str = "unknown", repository: str = REPOSITORY) -> str:
    """The card of a store as Markdown with YAML front matter.

    Args:
        facts: as `describe_store` gives them.
        licence: the hub's identifier of the licence of logits and features (mit, cc-by-4.0, other, ...).
        repository: where it is to be shared, OWNER/NAME.

    Raises DecantError for a store that is not complete, or a licence or repository of no such form.
    """
    if not facts["complete"]:
        raise DecantError(f"{facts['store']} is not complete: {'; '.join(facts['problems'][:3])}")
    if not _NAME.fullmatch(facts["name"]):
        raise DecantError(f"{facts['store']!r}: others could not type its name; rename the folder")
    if not _LICENCE.fullmatch(licence):
        raise DecantError(
            f"licence: expected an identifier like mit or cc-by-4.0, found {licence!r}"
        )
    if not _REPOSITORY.fullmatch(repository):
        raise DecantError(f"repository: expected {REPOSITORY}, found {repository!r}")
    parts = (
        _front_matter(facts, licence),
        _what(facts),
        _groups(facts),
        _use(facts, repository),
        _digests(facts),
    )
    return "\n".join(line for part in parts for line in (*part, "")).rstrip("\n") + "\n"


def card_of(store: Path, licence: str, repository: str) -> tuple[str, str]:
    """The card of a store, and the commands that share it. Raises as `store_card`, and StoreError."""
    facts = describe_store(store)
    return store_card(facts, licence, repository), upload_commands(facts, repository)


def upload_commands(facts: Facts, repository: str) -> str:
    """What to type to share the store and its card (README.md) at the hub, with its own tool."""
    if facts["address"]:
        return f"its views lie at {facts['address']}: share them from there"
    store, inside = quote(facts["store"]), quote(f"{facts['name']}.zarr")
    return (
        f"hf upload {repository} {store} {inside} --repo-type dataset\n"
        f"hf upload {repository} README.md README.md --repo-type dataset"
    )


def _front_matter(facts: Facts, licence: str) -> Iterator[str]:
    """YAML; JSON's strings are YAML's."""
    rows = facts["dataset"]["train_images"] * sum(g["views"] or 1 for g in facts["groups"].values())
    size = next((text for most, text in _SIZES if rows < most), _LARGEST)
    yield "---"
    yield f"license: {licence}"
    yield f"pretty_name: {json.dumps(_title(facts))}"
    yield "task_categories:"
    yield "- image-classification"
    yield "tags:"
    yield from (f"- {tag}" for tag in ("decant", "knowledge-distillation", "logits", "zarr"))
    yield f"size_categories:\n- {size}"
    yield "---"


def _title(facts: Facts) -> str:
    return f"Logits of {facts['teacher']['name']} on {facts['dataset']['name']}"


def _what(facts: Facts) -> Iterator[str]:
    teacher, data = facts["teacher"], facts["dataset"]
    top1 = teacher["top1_accuracy"]
    accuracy = "not known" if top1 is None else f"{top1:.2%} on the test images"
    yield f"# {escaped(_title(facts))}"
    yield ""
    yield (
        "A teacher's logits for augmented copies (views) of its training images, with the crop, the flip "
        "and the mixup of each, so that students can be trained without the teacher. The images "
        "themselves are not in it. Made by Decant."
    )
    yield ""
    yield f"- Teacher: {escaped(teacher['name'])}, network {escaped(teacher['network'])}"
    yield f"- Its top-1 accuracy: {accuracy}; trained with mixup: {_ANSWER[facts['teacher_mixup']]}"
    yield (
        f"- Data set: {escaped(data['name'])}, {data['train_images']:,} training and "
        f"{data['test_images']:,} test images, {data['classes']} classes"
    )
    if facts["groups_disagree_on"]:
        yield f"- Its groups disagree on the {' and the '.join(facts['groups_disagree_on'])}"


def _groups(facts: Facts) -> Iterator[str]:
    yield "| group | views | mixup alpha | logits | KL, T=1 | KL, T=4 | features | MB |"
    yield "|---|---|---|---|---|---|---|---|"
    for name, group in facts["groups"].items():
        recipe = group["recipe"] or {}
        views = f"{group['views']}, {recipe['draw']}" if recipe else "-"
        alpha = recipe.get("alpha")
        cells = (
            name,
            views,
            "-" if alpha is None else f"{alpha:g}",
            escaped(group["codec_name"]),
            *(_kl(group, key) for key in ("kl_t1", "kl_t4")),
            str(group["feature_dim"] or "none"),
            f"{group['bytes'] / 1e6:,.1f}",
        )
        yield f"| {' | '.join(cells)} |"
    yield ""
    yield (
        "KL is from the exact logits to those that are read, nats, mean over the images; 0 where nothing "
        "is lost but float32's last digits."
    )


def _kl(group: Facts, key: str) -> str:
    if key in group["measured_error"]:
        return f"{group['measured_error'][key]:.1e}"
    return "not known" if group["lossy"] else "0"


def _use(facts: Facts, repository: str) -> Iterator[str]:
    name = facts["name"]
    yield "## Train from it"
    yield ""
    yield "In a project of Decant's with the same data set prepared:"
    yield ""
    yield "```"
    yield (
        f'hf download {repository} --repo-type dataset --include "{name}.zarr/*" --local-dir data/stores'
    )
    yield f"decant store verify {name} --deep"
    yield "```"
    yield ""
    yield "```python"
    yield "import decant"
    yield ""
    yield f'store = decant.open("{name}")'
    if facts["shares"] is None:
        yield 'logits = store.clean.logits("train")  # there are no views for students'
    else:
        yield f"batches = store.loader(share={facts['shares'][-1]:g}, epoch=0)"
    yield "```"


def _digests(facts: Facts) -> Iterator[str]:
    yield "## Digests"
    yield ""
    yield "A store with these digests holds these bytes: every file is listed in its group's manifest."
    yield ""
    yield f"- Data set (images, labels, class names): `{facts['dataset']['fingerprint']}`"
    weights = facts["teacher"]["weights_sha256"]
    yield f"- Teacher's weights: {'not known' if weights is None else f'`{weights}`'}"
    yield from (
        f"- Manifest of {name}: `{group['digest']}`" for name, group in facts["groups"].items()
    )


def escaped(text: str) -> str:
    """A stranger's text as Markdown that shows it, in one line.

    >>> escaped("<b>a_b|c</b>")
    '&lt;b&gt;a\\\\_b\\\\|c&lt;/b&gt;'
    """
    line = text if text.isprintable() else ascii(text)
    line = line.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKUP.sub(r"\\\1", line)
