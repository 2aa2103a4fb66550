"""The keys of a parameter model in the pages of the API: the description of each, and its default.


`epochs: int = Field(ge=1, description="passes over the training set")` becomes an attribute with a docstring.
"""

import ast
from typing import Any

import griffe


class FieldDescriptions(griffe.Extension):
    """Reads pydantic's `Field(...)`, without importing anything."""

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called by griffe for each attribute that it has read."""
        value = attr.value
        if not isinstance(value, griffe.ExprCall) or str(value.function) not in ("Field", "field"):
            return
        keywords = {
            argument.name: argument.value
            for argument in value.arguments
            if isinstance(argument, griffe.ExprKeyword)
        }
        if "description" in keywords:
            text = ast.literal_eval(str(keywords["description"]))
            attr.docstring = griffe.Docstring(text, parent=attr)
        attr.value = keywords.get("default")
