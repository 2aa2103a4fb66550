"""What the pages of the API change in what griffe reads: keys of parameter models, examples in docstrings.

`epochs: int = Field(ge=1, description="passes over the training set")` becomes an attribute with a docstring,
and lines that begin with `>>>` become a block, which Markdown would take for a quotation.
"""

import ast
import re
from typing import Any

import griffe

_EXAMPLE = re.compile(r"^>>> .*(?:\n.+)*", re.MULTILINE)
_LITERAL = re.compile(r"::(?=\n\n    )")  # reStructuredText's sign of a block


class ParameterFields(griffe.Extension):
    """Reads pydantic's `Field(...)` and doctests, without importing anything."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Called by griffe for everything that it has read."""
        if obj.docstring is not None:
            text = _EXAMPLE.sub(lambda match: f"```pycon\n{match[0]}\n```", obj.docstring.value)
            obj.docstring.value = _LITERAL.sub(":", text)

    def on_attribute(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called by griffe for each attribute."""
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
