"""`decant store extend`: one number of params.yaml changes, and nothing else.

That the new views are dumped then, tests of clones and of sharing see: they run it with the real DVC.
"""

from pathlib import Path

import pytest
from click.testing import CliRunner
from ruamel.yaml import YAML

from pipeline.core.params import ParamsError
from stages.dvc import reproduce
from stages.store.extend import with_views
from stages.store.group import store

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "profiles" / "digits.yaml").read_text(encoding="utf-8")


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The targets of `decant repro` that the command asks for; none of them is made."""
    monkeypatch.chdir(tmp_path)
    Path("params.yaml").write_text(TEXT, encoding="utf-8")
    made: list[list[str]] = []
    monkeypatch.setattr(reproduce, "reproduce", lambda params, targets: made.append(targets))
    return made


def run(*arguments: str, code: int = 0) -> str:
    result = CliRunner().invoke(store, ["extend", *arguments], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.output


def changed_lines() -> dict[str, str]:
    """Lines of params.yaml that are not the profile's: old -> new."""
    before, after = TEXT.splitlines(), Path("params.yaml").read_text().splitlines()
    assert len(before) == len(after)
    return {old: new for old, new in zip(before, after, strict=True) if old != new}


def test_one_group_is_extended_and_dumped(runs: list[list[str]]) -> None:
    text = run("data/stores/resnet20.zarr", "--views", "12", "--group", "plain")
    assert runs == [["dump@resnet20"]]
    # The first one that looks like it is resnet20's; the same line of resnet20-mixup stays.
    line = "    plain: {views: 8, draw: stratified, features: true}"
    assert changed_lines() == {line: line.replace("8", "12")}
    content = YAML(typ="safe").load(Path("params.yaml"))
    assert content["dumps"]["resnet20"]["plain"]["views"] == 12
    assert content["dumps"]["resnet20-mixup"]["plain"]["views"] == 8
    assert "dumps.resnet20.plain.views: 8 -> 12" in text
    students = YAML(typ="safe").load(TEXT)["students"]
    told = text.split("`dvc repro`: ")[1].splitlines()[0].split(", ")
    assert told == [
        name
        for name, entry in students.items()
        if entry["store"] in ("resnet20.zarr", "resnet20.zarr/plain")
    ]
    assert "rescaled-fmu" not in told


def test_every_group_that_is_dumped_is_extended(runs: list[list[str]]) -> None:
    text = run("resnet20-mixup", "--views", "9")
    dumps = YAML(typ="safe").load(Path("params.yaml"))["dumps"]
    assert {group: dumps["resnet20-mixup"][group]["views"] for group in ("plain", "mixed")} == {
        "plain": 9,
        "mixed": 9,
    }
    assert dumps["resnet20"] == YAML(typ="safe").load(TEXT)["dumps"]["resnet20"]
    assert "kd-of-mixup-teacher" in text
    assert len(changed_lines()) == 2


def test_a_group_that_has_as_many_is_left_alone(runs: list[list[str]]) -> None:
    run("resnet20", "--views", "12", "--group", "plain")
    text = run("resnet20", "--views", "12")
    assert "mixed.views: 8 -> 12" in text
    assert "plain" not in text.replace("dumps", "")
    refused = run("resnet20", "--views", "12", code=1)
    assert "resnet20 has 12 plain, 12 mixed views: name more than that" in refused


def test_editing_alone_runs_nothing(runs: list[list[str]]) -> None:
    assert "To dump them: decant repro dump@resnet20" in run(
        "resnet20", "--views", "10", "--edit-only"
    )
    assert runs == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["resnet99", "--views", "10"], "no store 'resnet99'; did you mean resnet20?"),
        (["resnet20", "--views", "8"], "has 8 plain, 8 mixed views"),
        (["resnet20", "--views", "2"], "to have fewer, edit the parameter file"),
    ],
)
def test_what_cannot_be_is_refused(
    runs: list[list[str]], arguments: list[str], message: str
) -> None:
    assert message in run(*arguments, code=1)
    assert runs == []
    assert Path("params.yaml").read_text() == TEXT


def test_a_group_that_is_not_dumped_is_refused(runs: list[list[str]]) -> None:
    content = YAML(typ="safe").load(TEXT)
    content["dumps"]["resnet20"]["mixed"] = None
    with Path("params.yaml").open("w") as file:
        YAML().dump(content, file)
    assert "is not dumped yet" in run("resnet20", "--views", "9", "--group", "mixed", code=1)
    assert "plain.views: 8 -> 9" in run("resnet20", "--views", "9")


def test_wrong_usage_ends_with_2(runs: list[list[str]]) -> None:
    assert "Usage" in run("resnet20", code=2)
    assert "Usage" in run("resnet20", "--views", "0", code=2)
    assert "Usage" in run("resnet20", "--views", "9", "--group", "clean", code=2)


LAYOUTS = {
    "block": "dumps:\n  a:\n    plain:\n      views:   8   # a note\n      draw: random\n",
    "flow": "dumps: {a: {plain: {draw: random, views: 8}}}  # a note\n",
    "crlf": "dumps:\r\n  a:\r\n    plain: {views: 8}\r\n# end\r\n",
    "umlauts": "# für\ndumps:\n  a: {plain: {views: 8, note: 'ü: 8'}}\n",
    "next line": "dumps:\n  a:\n    plain:\n      views:\n        8\n",
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_layouts(name: str) -> None:
    text = LAYOUTS[name]
    place = text.rindex("8") if name != "umlauts" else text.index("8")
    assert with_views(text, "a", "plain", 240) == text[:place] + "240" + text[place + 1 :]


def test_views_that_are_written_elsewhere_are_left_alone() -> None:
    text = "shared: &v 8\ndumps:\n  a: {plain: {views: *v}}\n"
    with pytest.raises(ParamsError, match=r"dumps\.a\.plain\.views: .*by hand"):
        with_views(text, "a", "plain", 9)
