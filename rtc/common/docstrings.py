"""What the classes of the protocol say about themselves: their docstrings and the strings under their fields.

The pages of the documentation and the OpenAPI document are made of these texts.
"""

import ast
import inspect
import textwrap
from functools import cache
from itertools import pairwise

import attrs


def class_text(kind: type) -> str:
    """Return the docstring of a class as one paragraph."""
    return _one_paragraph(inspect.getdoc(kind) or "")


@cache
def field_texts(kind: type) -> dict[str, str]:
    """Return the strings under the fields of a class, or under the members of an enumeration, by their names.

    Fields that it has from its base classes are included. There are none where the source code is missing, or
    has changed since the program started, as in an update.
    """
    texts: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if one is kind or attrs.has(one):
            texts |= _own_texts(one)
    return texts


def _own_texts(kind: type) -> dict[str, str]:
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    except (OSError, TypeError, SyntaxError):
        return {}
    if not tree.body or not isinstance(tree.body[0], ast.ClassDef):
        return {}
    texts = {}
    for statement, below in pairwise(tree.body[0].body):
        target = _target(statement)
        if isinstance(target, ast.Name) and isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            texts[target.id] = _one_paragraph(str(below.value.value))
    return texts


def _target(statement: ast.stmt) -> ast.expr | None:
    """Return what a statement assigns to, such as the name of a field; None if it assigns nothing."""
    if isinstance(statement, ast.AnnAssign):
        return statement.target
    return statement.targets[0] if isinstance(statement, ast.Assign) else None


def _one_paragraph(text: str) -> str:
    return " ".join(text.split())
