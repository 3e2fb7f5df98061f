"""Translation of the tracking settings of SLEAP's GUI into options of `sleap-nn predict`.

The rules are those of SLEAP 1.6; the names of SLEAP 1.4 and older are understood too.
"""

from collections.abc import Mapping

_PREFIX = "tracking."
_RENAMED = {
    "match": "track_matching_method",
    "track_window": "tracking_window_size",
    "max_tracks": "max_tracks",
    "post_connect_single_breaks": "post_connect_single_breaks",
    "target_instance_count": "tracking_target_instance_count",
    "pre_cull_to_target": "tracking_pre_cull_to_target",
    "pre_cull_iou_threshold": "tracking_pre_cull_iou_threshold",
    "clean_instance_count": "tracking_clean_instance_count",
    "clean_iou_threshold": "tracking_clean_iou_threshold",
    "min_new_track_points": "min_new_track_points",
    "min_match_points": "min_match_points",
    "img_scale": "of_img_scale",
    "of_window_size": "of_window_size",
    "of_max_levels": "of_max_levels",
}
"""sleap-nn's option for each setting of SLEAP that is passed on unchanged."""
_DERIVED = frozenset(
    {"tracker", "similarity", "robust", "max_tracks_disabled", "robust_disabled", "max_tracking"}
    | {"kf_init_frame_count", "kf_node_indices"}
)
"""Other known settings: options are computed from them, or they are ignored without a warning (`max_tracking`)."""
_SIMILARITIES = {
    "centroid": {"features": "centroids", "scoring_method": "euclidean_dist"},
    "centroids": {"features": "centroids", "scoring_method": "euclidean_dist"},
    "iou": {"features": "bboxes", "scoring_method": "iou"},
    # these mean OKS, sleap-nn's default. No option is set for them: only then does sleap-nn adapt OKS to the skeleton
    "oks": {},
    "instance": {},
    "normalized_instance": {},
    "object_keypoint": {},
}
_TRACKERS = {"simple": False, "simplemaxtracks": False, "flow": True, "flowmaxtracks": True}
"""SLEAP's trackers by name: whether the tracker uses optical flow."""


def tracking_options(given: Mapping[str, object]) -> tuple[dict[str, object], tuple[str, ...]]:
    """Return unchecked options of `sleap-nn predict`, and the names of settings that sleap-nn does not have.

    Both are empty when no tracker is chosen.
    """
    settings = {str(key).removeprefix(_PREFIX): value for key, value in given.items()}
    tracker = str(settings.get("tracker") or "none")
    if tracker == "none":
        return {}, ()
    if tracker not in _TRACKERS:
        return {}, (f"tracker {tracker[:40]}",)
    chosen = _settings_of_tracker(settings, "flow" if _TRACKERS[tracker] else "simple")
    options: dict[str, object] = {_RENAMED[name]: value for name, value in chosen.items() if name in _RENAMED}
    if "tracking_pre_cull_to_target" in options:
        options["tracking_pre_cull_to_target"] = int(bool(options["tracking_pre_cull_to_target"]))
    if chosen.get("post_connect_single_breaks") and "max_tracks" in chosen:
        options.setdefault("tracking_target_instance_count", chosen["max_tracks"])
    similarity = str(chosen.get("similarity") or "oks").replace(" ", "_")
    known = _SIMILARITIES.get(similarity)
    options |= (
        {"tracking": True, "use_flow": _TRACKERS[tracker]}
        | (known or {})
        | _robust_options(chosen)
        | _kalman_options(chosen)
    )
    if "max_tracks" in chosen:
        options["candidates_method"] = "local_queues"
    unknown = sorted(name for name, value in chosen.items() if value and name not in _RENAMED.keys() | _DERIVED)
    return options, (*unknown, *(("similarity",) if known is None else ()))


def _settings_of_tracker(settings: Mapping[str, object], kind: str) -> dict[str, object]:
    """Return the settings that apply to a tracker of this kind, `simple` or `flow`.

    SLEAP 1.6 also saves settings of each tracker, with the kind as a suffix: `match.flow`. A setting without a suffix
    has precedence.
    """
    of_tracker = {name.removesuffix(f".{kind}"): value for name, value in settings.items() if name.endswith(f".{kind}")}
    general = {name: value for name, value in settings.items() if "." not in name}
    chosen = of_tracker | general
    for name in ("max_tracks", "robust"):
        if chosen.get(f"{name}_disabled"):
            chosen[name] = None if name == "max_tracks" else 1.0
    return {name: value for name, value in chosen.items() if value is not None or name == "robust"}


def _robust_options(chosen: Mapping[str, object]) -> dict[str, object]:
    """Return the options for SLEAP's setting `robust`, a quantile of the scores; 1 or None means their maximum."""
    if "robust" not in chosen:
        return {}
    quantile = chosen["robust"]
    if quantile is None or quantile == 1:
        return {"scoring_reduction": "max"}
    return {"scoring_reduction": "robust_quantile", "robust_best_instance": quantile}


def _kalman_options(chosen: Mapping[str, object]) -> dict[str, object]:
    """Return the options of the Kalman filter.

    SLEAP 1.4 and older switch the filter on with the number of frames after which it begins.
    """
    count = chosen.get("kf_init_frame_count")
    if not count:
        return {}
    nodes = chosen.get("kf_node_indices")
    return {"use_kalman": True, "kf_init_frame_count": count} | ({"kf_node_indices": nodes} if nodes else {})
