"""Strict parameters: every kind of mistake, its path, and that all are found at once."""

import math
import pickle
from dataclasses import field, replace
from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from pipeline.core.params import (
    ParamsError,
    Seed,
    check_names,
    checked,
    describe,
    load_yaml,
    read,
    section,
)


@checked
class Inner:
    rate: float = Field(gt=0)
    kind: Literal["step", "cosine"] = "step"


@checked
class Outer:
    epochs: int = Field(ge=1)
    share: float = Field(default=0.5, ge=0, le=1)
    name: str = "a"
    flip: bool = False
    alpha: Annotated[float, Field(gt=0)] | None = None
    mean: tuple[float, float, float] | None = None
    milestones: tuple[Annotated[int, Field(ge=1)], ...] = ()
    names: list[str] = field(default_factory=list)
    inner: Inner | None = None
    entries: dict[str, Inner] = field(default_factory=dict)
    anything: dict[str, Any] = field(default_factory=dict)
    size: int | str = 0
    derived: int = field(default=7, init=False)

    def __post_init__(self) -> None:
        if self.epochs == 13:
            raise ValueError("epochs: thirteen is unlucky")


def problems_of(content: Any, cls: Any = Outer) -> list[str]:
    problems: list[str] = []
    result = read(cls, content, "here", problems)
    assert (result is None) == bool(problems)
    return problems


def test_valid_values_of_every_type():
    content = {
        "epochs": 3,
        "share": 1,
        "name": "b",
        "flip": True,
        "alpha": 0.2,
        "mean": [0, 0.5, 1],
        "milestones": [1, 2],
        "names": ["x", "y"],
        "inner": {"rate": 2},
        "entries": {"one": {"rate": 0.1, "kind": "cosine"}},
        "anything": {"deep": [1, None]},
        "size": "large",
    }
    assert section({"a": {"b": content}}, Outer, "a", "b") == Outer(
        epochs=3,
        share=1.0,
        name="b",
        flip=True,
        alpha=0.2,
        mean=(0.0, 0.5, 1.0),
        milestones=(1, 2),
        names=["x", "y"],
        inner=Inner(rate=2.0),
        entries={"one": Inner(rate=0.1, kind="cosine")},
        anything={"deep": [1, None]},
        size="large",
    )


def test_defaults_and_nulls():
    read_back = section({"a": {"epochs": 1, "alpha": None, "inner": None}}, Outer, "a")
    assert read_back == Outer(epochs=1)


def test_whole_numbers_become_floats():
    value = section({"a": {"epochs": 1, "share": 1}}, Outer, "a").share
    assert type(value) is float


MISTAKES = [
    ({"epochs": 3, "epoch": 4}, "here.epoch: unknown key; did you mean epochs? valid keys: epochs"),
    ({"epochs": 3, "zzz": 4}, "here.zzz: unknown key; valid keys: epochs"),
    ({"epochs": 3, "derived": 4}, "here.derived: unknown key"),
    ({"epochs": 3, 5: 4}, "here.5: unknown key"),
    ({}, "here.epochs: missing; expected a whole number at least 1"),
    (None, "here: expected a mapping, found null"),
    ([1], "here: expected a mapping, found [1] (list)"),
    ({"epochs": "3"}, "here.epochs: expected a whole number at least 1, found '3' (str)"),
    ({"epochs": 3.0}, "here.epochs: expected a whole number at least 1, found 3.0 (float)"),
    ({"epochs": True}, "here.epochs: expected a whole number at least 1, found true"),
    ({"epochs": None}, "here.epochs: expected a whole number at least 1, found null"),
    ({"epochs": 0}, "here.epochs: expected a whole number at least 1, found 0 (int)"),
    ({"epochs": 3, "share": 1.01}, "here.share: expected a number between 0 and 1, found 1.01"),
    ({"epochs": 3, "share": -1}, "here.share: expected a number between 0 and 1, found -1"),
    ({"epochs": 3, "share": True}, "here.share: expected a number between 0 and 1, found true"),
    ({"epochs": 3, "share": math.nan}, "here.share: expected a number between 0 and 1, found nan"),
    ({"epochs": 3, "alpha": math.inf}, "here.alpha: expected a number above 0 or null, found inf"),
    ({"epochs": 3, "alpha": 10**400}, "here.alpha: expected a number above 0 or null, found 1000"),
    ({"epochs": 3, "alpha": 0}, "here.alpha: expected a number above 0 or null, found 0 (int)"),
    ({"epochs": 3, "name": 3}, "here.name: expected a text, found 3 (int)"),
    ({"epochs": 3, "flip": 1}, "here.flip: expected true or false, found 1 (int)"),
    ({"epochs": 3, "flip": "yes"}, "here.flip: expected true or false, found 'yes' (str)"),
    ({"epochs": 3, "mean": [1, 2]}, "here.mean: expected 3 values, found 2"),
    ({"epochs": 3, "mean": [1, 2, "x"]}, "here.mean[2]: expected a number, found 'x' (str)"),
    ({"epochs": 3, "mean": 1}, "here.mean: expected a list of a number or null, found 1 (int)"),
    ({"epochs": 3, "milestones": [4, 0]}, "here.milestones[1]: expected a whole number at least 1"),
    ({"epochs": 3, "names": "x"}, "here.names: expected a list of a text, found 'x' (str)"),
    ({"epochs": 3, "names": [None]}, "here.names[0]: expected a text, found null"),
    ({"epochs": 3, "inner": 3}, "here.inner: expected a mapping"),
    ({"epochs": 3, "inner": {}}, "here.inner.rate: missing; expected a number above 0"),
    (
        {"epochs": 3, "inner": {"rate": 1, "kind": "linear"}},
        "here.inner.kind: expected one of step, cosine, found 'linear' (str)",
    ),
    ({"epochs": 3, "entries": []}, "here.entries: expected a mapping, found [] (list)"),
    ({"epochs": 3, "entries": {"one": {"rate": 0}}}, "here.entries.one.rate: expected a number ab"),
    ({"epochs": 3, "entries": {"one": None}}, "here.entries.one: expected a mapping, found null"),
    ({"epochs": 3, "anything": [1]}, "here.anything: expected a mapping, found [1] (list)"),
    ({"epochs": 3, "size": 1.5}, "here.size: expected a whole number or a text, found 1.5 (float)"),
    ({"epochs": 3, "mean": [1, 2, 3, 4]}, "here.mean: expected 3 values, found 4"),
    ({"epochs": 3, "name": "\ud800"}, "here: not JSON"),
    ({"epochs": 3, ("a", "b"): 4}, "here: cannot be read"),
    ({"epochs": 13}, "here: epochs: thirteen is unlucky"),
]


@pytest.mark.parametrize(("content", "expected"), MISTAKES)
def test_each_mistake_has_one_message(content, expected):
    (problem,) = problems_of(content)
    assert problem.startswith(expected)


def test_all_mistakes_are_listed_at_once():
    content = {
        "epochs": 0,
        "epoch": 1,
        "share": "0.5",
        "mean": [1, "x", None],
        "inner": {"rates": 1},
        "entries": {"one": {"rate": -1}, "two": {"rate": 1}, "three": {"kind": 1}},
    }
    paths = [problem.split(":")[0] for problem in problems_of(content)]
    assert sorted(paths) == sorted(
        [
            "here.epochs",
            "here.epoch",
            "here.share",
            "here.mean[1]",
            "here.mean[2]",
            "here.inner.rates",
            "here.inner.rate",
            "here.entries.one.rate",
            "here.entries.three.rate",
            "here.entries.three.kind",
        ]
    )


def test_models_are_frozen_and_checked_when_they_are_made():
    made = Outer(epochs=3)
    assert replace(made, epochs=4) == Outer(epochs=4)
    for change, problem in (
        ({"epochs": 0}, "Outer.epochs: expected a whole number at least 1, found 0 (int)"),
        ({"epochs": "4"}, "Outer.epochs: expected a whole number at least 1, found '4' (str)"),
        ({"mean": [0.1, 0.2, 0.3]}, "Outer.mean: expected a list of a number or null, found [0.1"),
        ({"epochs": 13}, "Outer: epochs: thirteen is unlucky"),
        ({"epoch": 4}, "Outer.epoch: unknown key; did you mean epochs?"),
    ):
        with pytest.raises(ParamsError) as caught:
            Outer(**{"epochs": 3, **change})
        assert str(caught.value).startswith(problem)
    with pytest.raises(AttributeError):
        made.epochs = 4


def test_long_values_are_cut():
    (problem,) = problems_of({"epochs": "x" * 1000})
    assert len(problem) < 150


def test_seeds_are_what_a_generator_takes():
    assert read(Seed, 2**63 - 1, "seed", []) == 2**63 - 1
    for seed in (-1, 2**63, 1.0):
        assert len(problems_of(seed, Seed)) == 1


def test_literals_are_texts_as_they_stand():
    assert problems_of("step", Literal["step", "1"]) == []
    for value in (1, True, "Step", "step ", None):
        assert len(problems_of(value, Literal["step", "1"])) == 1


def test_section_names_what_is_there():
    content = {"teachers": {"resnet20": {}, "vgg8": {}}}
    with pytest.raises(
        ParamsError,
        match=r"^teachers\.resnet2: missing; did you mean resnet20\? valid .* resnet20, vgg8$",
    ):
        section(content, Outer, "teachers", "resnet2")
    with pytest.raises(
        ParamsError,
        match=r"^students: missing; valid names here: teachers$",
    ):
        section(content, Outer, "students", "a")
    with pytest.raises(ParamsError, match=r"^a\.b: missing; a holds no mapping$"):
        section({"a": 3}, Outer, "a", "b")
    with pytest.raises(ParamsError, match=r"^teachers\.vgg8\.epochs: missing"):
        section(content, Outer, "teachers", "vgg8")


def test_errors_keep_their_lines_across_processes():
    error = ParamsError(["a: one", "b: two"])
    assert str(error) == "a: one\nb: two"
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.problems) == (str(error), error.problems)


@pytest.mark.parametrize("name", ["resnet20", "a", "0", "kd-t4_x"])
def test_good_names(name):
    assert check_names([name], "students") == []


@pytest.mark.parametrize(
    "name",
    ["ResNet", "a.b", "a b", "", "a/b", "ä", "a\n", "_a", "-a", "a" * 101, 3, None],
)
def test_bad_names(name):
    (problem,) = check_names(["good", name], "students")
    assert problem.startswith(f"students.{name}: names consist of")


def test_describe_words():
    assert describe(Annotated[float, Field(gt=0)] | None) == "a number above 0 or null"
    assert describe(Literal["a", "b"]) == "one of a, b"
    assert describe(dict[str, int]) == describe(Inner) == "a mapping"
    assert describe(bool) == "true or false"


def write(tmp_path, text):
    path = tmp_path / "params.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_yaml_numbers(tmp_path):
    path = write(tmp_path, "a: 5e-4\nb: 5.0e-4\nc: 1e3\nd: 010\ne: 'yes'\nf: yes\n")
    content = load_yaml(path)
    assert content == {"a": 0.0005, "b": 0.0005, "c": 1000.0, "d": 10, "e": "yes", "f": "yes"}
    assert isinstance(content["a"], float)


@pytest.mark.parametrize(
    "text",
    [
        "a: [1, 2",
        "a: 1\na: 2",
        "\ta: 1",
        "a: !!python/object:os.system x",
        "a: 2020-13-45",
        "a: " + "9" * 5000,
        b"a: \xff\xfe",
        b"a: \x00",
    ],
    ids=["bracket", "duplicate", "tab", "object", "month", "digits", "encoding", "control"],
)
def test_what_is_not_yaml(tmp_path, text):
    path = write(tmp_path, text)
    with pytest.raises(ParamsError, match="not valid YAML") as caught:
        load_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["", "- 1\n", "3\n", "null\n"])
def test_yaml_that_is_no_mapping(tmp_path, text):
    with pytest.raises(ParamsError, match="expected a mapping of sections"):
        load_yaml(write(tmp_path, text))


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ParamsError, match="no such file"):
        load_yaml(tmp_path / "params.yaml")
    with pytest.raises(ParamsError, match="cannot be read"):
        load_yaml(tmp_path)
