"""Let PyPI's torchvision, which is built for CUDA, be imported next to a CPU-only torch, in sleap-nn's process.

Python imports this module at its start, because the folder is on sleap-nn's PYTHONPATH.

torchvision's compiled part (`_C.so`) cannot be loaded next to a CPU-only torch. torchvision accepts that, but then its
module `_meta_registrations` refers to two operators that were never declared, and the import fails (torchvision
0.28.0). Declaring the two before is enough, since sleap-nn's models use neither. Where the compiled part loads,
nothing is done. Before torchvision is imported, nothing is done either.
"""

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

_HERE = Path(__file__).resolve().parent


class _BeforeRegistrations(importlib.abc.MetaPathFinder):
    """Declares the two operators once, just before `torchvision._meta_registrations` is imported."""

    def __init__(self) -> None:
        self.done = False
        self.library: Any = None  # torch removes the operators when this object is deleted

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Declare the operators before that module is imported; return None, so that the ordinary finders find it."""
        if name == "torchvision._meta_registrations" and not self.done:
            self.done = True
            self.declare()

    def declare(self) -> None:
        """Declare the signatures of the two operators to torch, unless torchvision's compiled part has done it."""
        torch: Any = importlib.import_module("torch")
        extension: Any = importlib.import_module("torchvision.extension")
        if not extension._has_ops():
            self.library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                self.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _run_hidden() -> None:
    """Run the next `sitecustomize` on Python's path, if there is one. Python itself runs only the first one, ours."""
    others = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _BeforeRegistrations())
_run_hidden()
