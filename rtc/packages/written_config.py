"""The configurations that sleap-nn has written for labels: checked as those of any package, and prepared for two uses.

One text is for the training that follows. The other one comes home with the models: it names the labels as the person
did, so that it can be edited and used with `--config`.
"""

from pathlib import Path

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.common.safe_open import open_private, open_regular
from rtc.packages.file_names import plain_name
from rtc.packages.hydra_overrides import LABELS_KEY
from rtc.packages.model_config import (
    CKPT_DIR_KEY,
    RUN_NAME_KEY,
    parse_model_config,
    read_model_config,
)
from rtc.packages.safe_yaml import readable_yaml, yaml_text
from rtc.packages.setting_paths import get_setting, with_setting
from rtc.packages.sources import TEXT_MAX
from rtc.packages.text_encoding import decode_text

WRITTEN_MAX = 10
"""Configurations that sleap-nn may write for one file of labels; it writes one or two (sleap-nn 0.3.5)."""
HOME_HEADER = (
    "# Written by sleap-nn (sleap-nn config --auto). Change what you like, and train with it:\n"
    "# sleap-rtc train LABELS --config FILE, with --config once for each model of the pair if there are two.\n"
)
EDGES_KEY = "model_config.head_configs.bottomup.pafs.edges"
NO_EDGES = (
    "The skeleton of the labels has no edges, and bottomup needs some. Take another pipeline: --pipeline topdown."
)
"""sleap-nn itself ends with a `StopIteration`."""
UNUSABLE = "What sleap-nn wrote cannot be used: {}. Give a configuration of your own with --config."
TRAINED_FIRST = ("centroid", "bbox")
"""The first words of heads that are trained before others, as in SLEAP."""


@frozen
class WrittenConfig:
    """One configuration that sleap-nn has written."""

    head: str
    """The head of its model, such as `centroid`."""
    text: str
    """The configuration for the training."""
    home_text: str
    """The configuration for the person."""

    @property
    def name(self) -> str:
        """Its file name."""
        return f"{plain_name(self.head, 'model')}.yaml"


def read_written_configs(folder: Path, labels: str, named: str) -> tuple[WrittenConfig, ...]:
    """Read the configurations in a folder; return them in the order in which their models are trained.

    Args:
        folder: holds what sleap-nn has written, and nothing else.
        labels: path of the labels, for the training.
        named: path of the labels as the person named them.

    Raises:
        RtcError: BAD_PACKAGE: a configuration is not allowed. JOB_FAILED: there are too many, two are for the same
            head, or one cannot be read.
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix == ".yaml")
        if len(paths) > WRITTEN_MAX:
            raise RtcError(FaultCode.JOB_FAILED, f"sleap-nn wrote more than {WRITTEN_MAX} configurations.")
        found = [_read(path, labels, named) for path in paths]
    except OSError as error:
        text = f"The configurations of sleap-nn could not be read ({error.strerror})."
        raise RtcError(FaultCode.JOB_FAILED, text) from None
    heads = [config.head for config in found]
    if twice := sorted(head for head in set(heads) if heads.count(head) > 1):
        raise RtcError(FaultCode.JOB_FAILED, f"sleap-nn wrote more than one configuration for {twice[0]}.")
    return tuple(sorted(found, key=lambda config: not config.head.startswith(TRAINED_FIRST)))


def _read(path: Path, labels: str, named: str) -> WrittenConfig:
    with open_regular(path) as file:
        data = file.read(TEXT_MAX + 1)
    if len(data) > TEXT_MAX:
        raise RtcError(FaultCode.JOB_FAILED, f"{path.name} of sleap-nn is too large to be a configuration.")
    try:
        return _parse(path.name, data, labels, named)
    except RtcError as error:
        if error.fault.code is not FaultCode.BAD_PACKAGE:
            raise
        # what follows the first sentence is advice to the person who made a package
        reason = error.fault.text.partition(". ")[0].rstrip(".")
        raise RtcError(FaultCode.BAD_PACKAGE, UNUSABLE.format(reason)) from None


def _parse(name: str, data: bytes, labels: str, named: str) -> WrittenConfig:
    tree = parse_model_config(name, decode_text(name, data))
    tree = with_setting(with_setting(tree, CKPT_DIR_KEY, "models"), RUN_NAME_KEY, None)
    text = yaml_text(with_setting(tree, LABELS_KEY, [labels]))
    home_text = HOME_HEADER + readable_yaml(with_setting(tree, LABELS_KEY, [named]))
    head = read_model_config(name, text).head
    if not head:
        raise RtcError(FaultCode.JOB_FAILED, "sleap-nn wrote a configuration that is not of one model.")
    if get_setting(tree, EDGES_KEY) == []:
        raise RtcError(FaultCode.JOB_FAILED, NO_EDGES)
    return WrittenConfig(head, text, home_text)


def write_new_file(path: Path, text: str) -> None:
    """Write a configuration to a path at which there is nothing.

    Raises:
        RtcError: JOB_FAILED: it cannot be written.
    """
    try:
        with open_private(path) as file:
            file.write(text.encode())
    except OSError as error:
        text = f"The configuration {path.name} could not be written ({error.strerror})."
        raise RtcError(FaultCode.JOB_FAILED, text) from None
