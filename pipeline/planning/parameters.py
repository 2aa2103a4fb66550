"""All of params.yaml as one model, and the JSON schema by which editors complete and check it.

`python -m pipeline.planning.parameters` writes the schema (`params.schema.json`) again.
"""

import json
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from pipeline.core.dataset_params import DatasetParams
from pipeline.core.machine import Machine
from pipeline.core.params import KEY_PATTERN, checked
from pipeline.distill.params import StudentParams
from pipeline.dump.params import DumpParams
from pipeline.evaluation.params import EvaluationParams
from pipeline.hard_labels.params import BaselineParams, TeacherParams
from pipeline.losses.signatures import LOSSES, TEMPERATURES, hyper_parameters
from pipeline.models.catalogue import MODELS
from pipeline.training.params import TrainingParams
from pipeline.views.params import Augmentation

SCHEMA = Path("params.schema.json")
Entry = Annotated[str, Field(pattern=f"^{KEY_PATTERN}$")]
# Sections of named entries, and what an entry is.
ENTRIES: dict[str, Any] = {
    "methods": dict[str, Any],
    "teachers": TeacherParams,
    "baselines": BaselineParams,
    "dumps": DumpParams,
    "students": StudentParams,
    "remote_stores": str,
}
TRAINED = ("teachers", "baselines", "students")


@checked
class ParameterFile:
    """An experiment of Decant."""

    machine: Machine
    dataset: DatasetParams
    augmentation: Augmentation
    training: TrainingParams
    methods: dict[Entry, dict[str, Any]] = Field(description="losses with their hyper-parameters")
    teachers: dict[Entry, TeacherParams] = Field(description="networks whose logits are dumped")
    baselines: dict[Entry, BaselineParams] = Field(description="networks trained alone")
    dumps: dict[Entry, DumpParams] = Field(description="stores, each under its teacher's name")
    students: dict[Entry, StudentParams] = Field(description="networks trained from a store")
    evaluation: EvaluationParams
    remote_stores: dict[Entry, str] = Field(
        default_factory=dict,
        description="addresses of stores that are read in place, by name; `decant store pin` writes them",
    )


def json_schema() -> dict[str, Any]:
    """The schema of params.yaml: the models', with the names that stand for code spelt out."""
    schema = TypeAdapter(ParameterFile).json_schema()
    definitions = schema["$defs"]
    recipe = {
        key: value for key, value in definitions["TrainingParams"].items() if key != "required"
    }
    told = "Keys of the shared section `training` that are others for this entry."
    definitions["TrainingOverrides"] = {**recipe, "title": "TrainingOverrides", "description": told}
    for name in ("TeacherParams", "BaselineParams", "StudentParams"):
        properties = definitions[name]["properties"]
        properties["training"] = {"$ref": "#/$defs/TrainingOverrides"}
        properties["network"] |= _name_or_path(MODELS)
    for name in ENTRIES:
        section = schema["properties"][name]
        ((pattern, entry),) = section.pop("patternProperties").items()
        section["propertyNames"] = {"pattern": pattern}
        section["additionalProperties"] = _methods() if name == "methods" else entry
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _name_or_path(registry: dict[str, str]) -> dict[str, Any]:
    return {"anyOf": [{"enum": list(registry)}, {"type": "string", "pattern": "[.:]"}]}


def _methods() -> dict[str, Any]:
    """What an entry of `methods` may be: of the losses that are ours, with all their numbers."""
    conditions = []
    for name in LOSSES:
        options = {option: _number(option) for option in hyper_parameters(name)}
        then = {"properties": {"loss": {}, **options}, "additionalProperties": False}
        conditions.append(
            {
                "if": {"properties": {"loss": {"const": name}}, "required": ["loss"]},
                "then": {**then, "required": list(options)},
            }
        )
    loss = {"description": "a name, or the path of one of your own (module:function)"}
    return {
        "type": "object",
        "properties": {"loss": loss | _name_or_path(LOSSES)},
        "required": ["loss"],
        "allOf": conditions,
    }


def _number(option: str) -> dict[str, Any]:
    if option != "temperature":
        return {"type": "number", "minimum": 0}
    return {"type": "number", "minimum": TEMPERATURES[0], "maximum": TEMPERATURES[1]}


def schema_text() -> str:
    """The content of `SCHEMA`."""
    return json.dumps(json_schema(), indent=1) + "\n"


if __name__ == "__main__":
    SCHEMA.write_text(schema_text(), encoding="ascii")
