"""Says which frames of labels a training or a prediction reads, so that nothing else is asked for or sent.

It follows sleap-nn 0.3.5: `model_trainer.py` and `custom_datasets.py` for training, `cli.py` and `providers.py` for
prediction.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from rtc.client.package_builder.slp_files import PredictionFrames, TrainingFrames
from rtc.client.package_builder.training_config import TrainingConfig
from rtc.packages.hydra_overrides import Override
from rtc.packages.predict_options import Value
from rtc.packages.setting_checks import with_overrides

POINTS_ONLY = ("single_instance", "centered_instance", "bottomup", "multi_class_bottomup", "multi_class_topdown")
"""Heads that learn from points alone; others may learn from centroids, masks or boxes too."""
_FILTERS = (
    ("only_labeled_frames", "labeled"),
    ("only_suggested_frames", "suggested"),
    ("exclude_user_labeled", "unlabeled"),
    ("only_predicted_frames", "predicted"),
)
"""The options that choose frames by their labels. When several are given, sleap-nn obeys the first of this list."""


def frames_of_training(configs: Sequence[TrainingConfig], overrides: Sequence[Override]) -> TrainingFrames:
    """Return which frames the models of these configurations read between them.

    Args:
        configs: one configuration for each model.
        overrides: they apply to every model.
    """
    changed = (with_overrides(config.tree, overrides) for config in configs if not config.legacy)
    data = [settings for tree in changed if isinstance(settings := tree.get("data_config"), dict)]
    return TrainingFrames(
        predicted=any(map(_reads_predicted, data)) or any(config.head == "embedding" for config in configs),
        negative=any(_is_true(settings.get("use_negative_frames")) for settings in data),
        annotated=any(config.head not in POINTS_ONLY for config in configs),
    )


def _reads_predicted(settings: Mapping[str, Any]) -> bool:
    """Return True if predicted animals are learned from; splitting labels for validation takes them out."""
    split = not settings.get("val_labels_path") and not _is_true(settings.get("use_same_data_for_val"))
    whole = not split or bool(settings.get("split"))
    return whole and _is_false(settings.get("user_instances_only"))


def _is_true(value: object) -> bool:
    return str(value).strip().casefold() in ("true", "yes", "on", "1")


def _is_false(value: object) -> bool:
    return str(value).strip().casefold() in ("false", "no", "off", "0")


def frames_of_prediction(options: Mapping[str, Value], has_models: bool) -> PredictionFrames:
    """Return which frames a prediction with these options reads.

    Args:
        options: options of `sleap-nn predict` by sleap-nn's names.
        has_models: False if the animals in the labels are only tracked, for which images are needed to follow the
            optical flow alone.
    """
    index, frames = options.get("video_index"), options.get("frames")
    return PredictionFrames(
        which=next((which for name, which in _FILTERS if options.get(name)), "all"),
        frames=None if frames is None else str(frames),
        video_index=None if index is None else int(index),
        tracking_only=not has_models,
        images=has_models or bool(options.get("use_flow")),
    )
