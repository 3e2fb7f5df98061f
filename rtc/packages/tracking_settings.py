"""SLEAP's tracking settings, as its window names them, in sleap-nn's words.

The rules are SLEAP 1.6's own; the names of SLEAP ≤ 1.4 are understood too.
"""

from collections.abc import Mapping

_PREFIX = "tracking."
_DIRECT = {
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
_DERIVED = frozenset(
    {"tracker", "similarity", "robust", "max_tracks_disabled", "robust_disabled", "max_tracking"}
    | {"kf_init_frame_count", "kf_node_indices"}
)
_SIMILARITIES = {
    "centroid": {"features": "centroids", "scoring_method": "euclidean_dist"},
    "centroids": {"features": "centroids", "scoring_method": "euclidean_dist"},
    "iou": {"features": "bboxes", "scoring_method": "iou"},
    # the rest is OKS, sleap-nn's own choice; unsaid, it changes with the skeleton, as it must
    "oks": {},
    "instance": {},
    "normalized_instance": {},
    "object_keypoint": {},
}
_TRACKERS = {"simple": False, "simplemaxtracks": False, "flow": True, "flowmaxtracks": True}
"""By name: whether it uses optical flow."""


def tracking_options(given: Mapping[str, object]) -> tuple[dict[str, object], tuple[str, ...]]:
    """Options of prediction, unchecked, and the names of settings that have no counterpart.

    Nothing when no tracker is chosen.
    """
    said = {str(key).removeprefix(_PREFIX): value for key, value in given.items()}
    tracker = str(said.get("tracker") or "none")
    if tracker == "none":
        return {}, ()
    if tracker not in _TRACKERS:
        return {}, (f"tracker {tracker[:40]}",)
    chosen = _of_tracker(said, "flow" if _TRACKERS[tracker] else "simple")
    options: dict[str, object] = {_DIRECT[name]: value for name, value in chosen.items() if name in _DIRECT}
    if "tracking_pre_cull_to_target" in options:
        options["tracking_pre_cull_to_target"] = int(bool(options["tracking_pre_cull_to_target"]))
    if chosen.get("post_connect_single_breaks") and "max_tracks" in chosen:
        options.setdefault("tracking_target_instance_count", chosen["max_tracks"])
    similarity = str(chosen.get("similarity") or "oks").replace(" ", "_")
    known = _SIMILARITIES.get(similarity)
    options |= {"tracking": True, "use_flow": _TRACKERS[tracker]} | (known or {}) | _robust(chosen) | _kalman(chosen)
    if "max_tracks" in chosen:
        options["candidates_method"] = "local_queues"
    strange = sorted(name for name, value in chosen.items() if value and name not in _DIRECT.keys() | _DERIVED)
    return options, (*strange, *(("similarity",) if known is None else ()))


def _of_tracker(said: Mapping[str, object], kind: str) -> dict[str, object]:
    """What counts for this tracker: SLEAP 1.6 also keeps each tracker's own, as `match.flow`."""
    own = {name.removesuffix(f".{kind}"): value for name, value in said.items() if name.endswith(f".{kind}")}
    plain = {name: value for name, value in said.items() if "." not in name}
    chosen = own | plain
    for name in ("max_tracks", "robust"):
        if chosen.get(f"{name}_disabled"):
            chosen[name] = None if name == "max_tracks" else 1.0
    return {name: value for name, value in chosen.items() if value is not None or name == "robust"}


def _robust(chosen: Mapping[str, object]) -> dict[str, object]:
    if "robust" not in chosen:
        return {}
    quantile = chosen["robust"]
    if quantile is None or quantile == 1:
        return {"scoring_reduction": "max"}
    return {"scoring_reduction": "robust_quantile", "robust_best_instance": quantile}


def _kalman(chosen: Mapping[str, object]) -> dict[str, object]:
    """SLEAP ≤ 1.4 asks for its Kalman filter by saying after how many frames it begins."""
    count = chosen.get("kf_init_frame_count")
    if not count:
        return {}
    nodes = chosen.get("kf_node_indices")
    return {"use_kalman": True, "kf_init_frame_count": count} | ({"kf_node_indices": nodes} if nodes else {})
