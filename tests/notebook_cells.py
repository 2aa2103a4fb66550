"""docs/notebook.ipynb: its cells run in order by Python alone. As a script it keeps what they print.

`python tests/notebook_cells.py`, in a project of the default profile that has been run.
"""

import ast
import base64
import contextlib
import io
import json
from pathlib import Path
from typing import Any

from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def read_notebook() -> dict[str, Any]:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def code_cells(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]


def run_cells(notebook: dict[str, Any]) -> list[list[dict[str, Any]]]:
    """The outputs of every code cell, run in order in one namespace, as a notebook keeps them."""
    names: dict[str, Any] = {"__name__": "__main__"}
    return [
        _run("".join(cell["source"]), number, names)
        for number, cell in enumerate(code_cells(notebook), 1)
    ]


def _run(source: str, number: int, names: dict[str, Any]) -> list[dict[str, Any]]:
    """Run a cell; its last expression is its result."""
    body = ast.parse(source).body
    last = body.pop() if body and isinstance(body[-1], ast.Expr) else None
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(ast.Module(body, []), f"<cell {number}>", "exec"), names)
        value = None
        if last is not None:
            value = eval(compile(ast.Expression(last.value), f"<cell {number}>", "eval"), names)
    outputs: list[dict[str, Any]] = []
    if printed.getvalue():
        outputs.append({"output_type": "stream", "name": "stdout", "text": lines(printed)})
    if value is not None:
        outputs.append(
            {
                "output_type": "execute_result",
                "execution_count": number,
                "metadata": {},
                "data": _shown(value),
            }
        )
    return outputs


def lines(text: io.StringIO) -> list[str]:
    return text.getvalue().splitlines(keepends=True)


def _shown(value: Any) -> dict[str, Any]:
    if isinstance(value, Image.Image):
        file = io.BytesIO()
        value.save(file, "PNG")
        return {"image/png": base64.b64encode(file.getvalue()).decode("ascii")}
    return {"text/plain": repr(value).splitlines(keepends=True)}


def keep_outputs() -> None:
    notebook = read_notebook()
    for number, (cell, outputs) in enumerate(
        zip(code_cells(notebook), run_cells(notebook), strict=True), 1
    ):
        cell["execution_count"], cell["outputs"] = number, outputs
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True)
    NOTEBOOK.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    keep_outputs()
