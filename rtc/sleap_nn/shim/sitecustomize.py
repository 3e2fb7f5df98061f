"""On the path of sleap-nn's process: lets PyPI's torchvision, built for CUDA, be imported next to a CPU-only torch.

torchvision's compiled part cannot load there. It tolerates that, but then its `_meta_registrations` describes two
operators that nobody has declared, and the import dies. Declaring them first is enough: pose models use none of them.
Where the compiled part loads, nothing is done. Until torchvision is imported this costs nothing.
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
    """Steps in once, just before `torchvision._meta_registrations` is imported."""

    def __init__(self) -> None:
        self.done = False
        self.library: Any = None  # torch forgets the operators when this object goes

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> None:
        """Never finds anything: the ordinary finders do, after the operators are there."""
        if name == "torchvision._meta_registrations" and not self.done:
            self.done = True
            self.declare()

    def declare(self) -> None:
        """Tell torch the shape of the two operators, unless torchvision's compiled part did."""
        torch: Any = importlib.import_module("torch")
        extension: Any = importlib.import_module("torchvision.extension")
        if not extension._has_ops():
            self.library = torch.library.Library("torchvision", "DEF")
            for operator in ("nms", "qnms"):
                self.library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


def _run_hidden() -> None:
    """Python runs only the first sitecustomize on its path; the machine may have one of its own."""
    others = [entry for entry in sys.path if Path(entry or ".").resolve() != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


sys.meta_path.insert(0, _BeforeRegistrations())
_run_hidden()
