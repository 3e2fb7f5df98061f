"""The options of `sleap-nn predict` that may be requested: one table for flags, YAML, checks and the command line.

Names and limits are those of sleap-nn 0.3.5. The table is an allow-list. Options that name a file, a device or an
address are not in it, because the worker decides those itself. `--help` imports this module, so it imports nothing
that is slow to load.
"""

import math
import re
from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

from attrs import frozen

from protocol.faults import FaultCode
from rtc.common.errors import RtcError
from rtc.packages.setting_tree import INTERPOLATION

Value = bool | int | float | str
"""A checked value of an option."""

FRAMES_TEXT_MAX = 100_000
"""Maximum length of a list of frames, in characters: Linux allows 128 KiB for one argument of a command line."""
TEXT_MAX = 200
"""Maximum length of a value that is a text, in characters."""
INTEGER_MAX = 2**31 - 1
"""Largest absolute value of a number, whole or not."""


class OptionKind(Enum):
    """The type of an option's value."""

    FLAG = "flag"
    """On or off: `--x`."""
    SWITCH = "switch"
    """On, off, or not given: `--x` and `--no-x`."""
    INTEGER = "whole"
    FLOAT = "real"
    TEXT = "text"
    CHOICE = "choice"
    FRAMES = "frames"


class OptionGroup(Enum):
    """The group under which an option is listed."""

    FRAMES = "which frames"
    PEAKS = "finding animals"
    IMAGES = "images"
    FILTERS = "filters"
    TRACKING = "tracking"


@frozen
class PredictOption:
    """One option of `sleap-nn predict`."""

    name: str
    """The name with underscores, as in sleap-nn and in YAML."""
    kind: OptionKind
    group: OptionGroup
    help: str
    choices: tuple[str, ...] = ()
    low: float = -math.inf
    high: float = math.inf

    @property
    def flag(self) -> str:
        """The option as people type it, with hyphens: `--max-tracks`."""
        return "--" + self.name.replace("_", "-")

    def read(self, given: object) -> Value:
        """Parse and check a value from YAML, a script or a command line.

        Raises:
            RtcError: USAGE: the value is invalid; the sentence names the option and what is expected.
        """
        match self.kind:
            case OptionKind.FLAG | OptionKind.SWITCH:
                return _read_flag(self, given)
            case OptionKind.INTEGER:
                return int(_read_number(self, given))
            case OptionKind.FLOAT:
                return _read_number(self, given)
            case OptionKind.FRAMES:
                return read_frames(given)
            case OptionKind.CHOICE | OptionKind.TEXT:
                return _read_text(self, given)

    def arguments(self, value: Value) -> tuple[str, ...]:
        """Return the arguments that set this value on sleap-nn's command line."""
        if self.kind is OptionKind.SWITCH:
            return (f"--{self.name}" if value else f"--no-{self.name}",)
        if self.kind is OptionKind.FLAG:
            return (f"--{self.name}",) if value else ()
        return (f"--{self.name}", str(value))

    def refusal(self, expected: str) -> RtcError:
        """Return the error for an invalid value. The text never contains the value, which may be anything."""
        return RtcError(FaultCode.USAGE, f"{self.flag} {expected}.")


def _read_flag(option: PredictOption, given: object) -> bool:
    """Return a bool from a bool, or from one of the words true, yes, 1, false, no and 0."""
    truth = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    found = given if isinstance(given, bool) else truth.get(str(given).strip().lower())
    if found is None:
        raise option.refusal("is either on (true) or off (false)")
    return found


def _read_number(option: PredictOption, given: object) -> float:
    """Return a number within the option's limits, from a number or a text; whole for an INTEGER option."""
    whole = option.kind is OptionKind.INTEGER
    try:
        found = float(given) if isinstance(given, int | float | str) and not isinstance(given, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    low, high = max(option.low, -INTEGER_MAX), min(option.high, INTEGER_MAX)
    if not low <= found <= high or (whole and found != int(found)):
        raise option.refusal(f"takes a {'whole ' * whole}number{_limits_text(option)}")
    return found


def _limits_text(option: PredictOption) -> str:
    if math.isfinite(option.low) and math.isfinite(option.high):
        return f" between {option.low:g} and {option.high:g}"
    return f" of {option.low:g} or more" if math.isfinite(option.low) else ""


def _read_text(option: PredictOption, given: object) -> str:
    """Return one of the option's choices; without choices, a printable text that is not mistaken for an option."""
    # YAML reads an empty value or `null` as None
    text = "none" if given is None and "none" in option.choices else given
    if option.choices and text not in option.choices:
        raise option.refusal(f"is one of {', '.join(option.choices)}")
    if not isinstance(text, str) or not 0 < len(text) <= TEXT_MAX or not text.isprintable() or text.startswith("-"):
        raise option.refusal("takes a short text")
    if INTERPOLATION in text:
        raise option.refusal(f"takes no text with {INTERPOLATION!r}, which sleap-nn would fill in on the worker")
    return text


def read_frames(given: object) -> str:
    """Return frame numbers in the form that sleap-nn reads: one range `0-49`, or a list `0,3,5`.

    Also accepted are `0,-49`, which is how SLEAP writes a range, a mix like `0,3-5`, on which sleap-nn crashes, and a
    list of numbers.

    Raises:
        RtcError: USAGE: the value is none of these, or the list would be longer than FRAMES_TEXT_MAX characters.
    """
    items = given if isinstance(given, list) else [given]
    text = ",".join(str(item) for item in items if not isinstance(item, bool)).replace(" ", "")
    sleap_range = re.fullmatch(r"(\d{1,9}),-(\d{1,9})", text)
    pieces = [f"{sleap_range[1]}-{sleap_range[2]}"] if sleap_range else text.split(",")
    ranges = [_read_range(piece) for piece in pieces if piece]
    if not ranges:
        raise _frames_error()
    if len(ranges) == 1 and ranges[0].start < ranges[0].stop - 1:
        return f"{ranges[0].start}-{ranges[0].stop - 1}"
    if sum(map(len, ranges)) > FRAMES_TEXT_MAX:
        raise _too_many_frames_error()
    frames = ",".join(map(str, dict.fromkeys(frame for numbers in ranges for frame in numbers)))
    if len(frames) > FRAMES_TEXT_MAX:
        raise _too_many_frames_error()
    return frames


def _read_range(piece: str) -> range:
    found = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", piece, re.ASCII)
    if found is None:
        raise _frames_error()
    numbers = range(int(found[1]), int(found[2] or found[1]) + 1)
    if not numbers:
        raise _frames_error()
    return numbers


def _frames_error() -> RtcError:
    return RtcError(FaultCode.USAGE, "--frames takes frame numbers from 0 on: a list like 0,3,5 or a range like 0-49.")


def _too_many_frames_error() -> RtcError:
    return RtcError(FaultCode.USAGE, "--frames lists too many frames to be passed on. Write one range, like 0-9999.")


def _flag(name: str, group: OptionGroup, text: str) -> PredictOption:
    return PredictOption(name, OptionKind.FLAG, group, text)


def _integer(name: str, group: OptionGroup, text: str, low: int = 0) -> PredictOption:
    return PredictOption(name, OptionKind.INTEGER, group, text, low=low)


def _float(name: str, group: OptionGroup, text: str, low: float = 0, high: float = math.inf) -> PredictOption:
    return PredictOption(name, OptionKind.FLOAT, group, text, low=low, high=high)


def _choice(name: str, group: OptionGroup, text: str, *choices: str) -> PredictOption:
    return PredictOption(name, OptionKind.CHOICE, group, text, choices)


_F, _P, _I, _L, _T = (
    OptionGroup.FRAMES,
    OptionGroup.PEAKS,
    OptionGroup.IMAGES,
    OptionGroup.FILTERS,
    OptionGroup.TRACKING,
)
OPTIONS: tuple[PredictOption, ...] = (
    PredictOption("frames", OptionKind.FRAMES, _F, "Only these frames: a list like 0,3,5 or a range like 0-49."),
    _flag("only_suggested_frames", _F, "Only the suggested frames of labels."),
    _flag("only_labeled_frames", _F, "Only the frames of labels that a person has labelled."),
    _flag("only_predicted_frames", _F, "Only the frames of labels that hold predictions."),
    _flag("exclude_user_labeled", _F, "Not the frames of labels that a person has labelled."),
    _integer("video_index", _F, "Only this video of the labels, counted from 0."),
    PredictOption("video_dataset", OptionKind.TEXT, _F, "The dataset that holds the images of an HDF5 video."),
    _choice("video_input_format", _F, "How an HDF5 video is laid out.", "channels_last", "channels_first"),
    _flag("no_empty_frames", _F, "Leave frames in which nothing was found out of the predictions."),
    _integer("batch_size", _P, "Frames predicted at a time; fewer need less GPU memory.", 1),
    _float("peak_threshold", _P, "Least confidence of a point.", 0, 1),
    _float("centroid_peak_threshold", _P, "Least confidence of a centroid, if not that of points.", 0, 1),
    _integer("max_instances", _P, "Most animals in a frame.", 1),
    _choice("integral_refinement", _P, "How points are placed between pixels.", "integral", "none"),
    _integer("integral_patch_size", _P, "Pixels around a peak that this refinement uses.", 1),
    PredictOption("anchor_part", OptionKind.TEXT, _P, "The body part that centers a crop."),
    _flag("centroid_only", _P, "Find centroids only, though there is a model for points."),
    _choice("centroid_output", _P, "What centroids are written as.", "instance", "centroid", "both"),
    _float("max_edge_length_ratio", _P, "Bottom-up: longest edge, as a share of the image."),
    _float("dist_penalty_weight", _P, "Bottom-up: how much longer edges are held against a pairing."),
    _integer("n_points", _P, "Bottom-up: samples along an edge.", 1),
    _float("min_instance_peaks", _P, "Bottom-up: fewest points of an animal; a share below 1."),
    _float("min_line_scores", _P, "Bottom-up: least score of an edge.", -1, 1),
    _float("input_scale", _I, "Scale of the images, if not that of the training.", 0.001, 100),
    _integer("max_height", _I, "Largest height of the images.", 1),
    _integer("max_width", _I, "Largest width of the images.", 1),
    _integer("crop_size", _I, "Side of the crops around centroids.", 1),
    PredictOption("ensure_rgb", OptionKind.SWITCH, _I, "Take the images as colour."),
    PredictOption("ensure_grayscale", OptionKind.SWITCH, _I, "Take the images as grey."),
    _flag("filter_overlapping", _L, "Drop animals that lie on top of a better one."),
    _choice("filter_overlapping_method", _L, "What overlapping means.", "iou", "oks"),
    _float("filter_overlapping_threshold", _L, "How much overlap is too much.", 0, 1),
    _integer("filter_min_visible_nodes", _L, "Fewest points of an animal."),
    _float("filter_min_visible_node_fraction", _L, "Smallest share of an animal's points.", 0, 1),
    _float("filter_min_mean_node_score", _L, "Least mean confidence of an animal's points."),
    _float("filter_min_instance_score", _L, "Least score of an animal."),
    _float("filter_min_centroid_distance", _L, "Pixels between centroids, at least."),
    _flag("tracking", _T, "Give animals an identity from frame to frame. Any option of tracking switches it on."),
    _choice(
        "tracker", _T, "The tracking algorithm.",
        "classic", "sort", "deepsort", "strongsort", "bytetrack", "botsort", "ocsort", "deepocsort",
    ),
    _integer("tracking_window_size", _T, "Earlier frames that tracking compares with.", 1),
    _choice("candidates_method", _T, "Where candidates come from.", "fixed_window", "local_queues"),
    _choice("features", _T, "What animals are compared by.", "keypoints", "centroids", "bboxes", "masks", "embeddings"),
    _choice("scoring_method", _T, "How they are compared.", "oks", "cosine_sim", "iou", "mask_iou", "euclidean_dist"),
    _choice("scoring_reduction", _T, "How several scores become one.", "mean", "max", "robust_quantile"),
    _float("robust_best_instance", _T, "The quantile, for robust_quantile.", 0, 1),
    _choice("track_matching_method", _T, "How pairs are made.", "hungarian", "greedy"),
    _integer("max_tracks", _T, "Most tracks: the number of animals.", 1),
    _integer("min_new_track_points", _T, "Fewest points of an animal that begins a track."),
    _integer("min_match_points", _T, "Fewest points of an animal that is matched."),
    _float("oks_stddev", _T, "Spread of points in the OKS score.", 1e-9),
    _flag("use_flow", _T, "Shift animals by optical flow before comparing."),
    _float("of_img_scale", _T, "Optical flow: scale of the images.", 1e-3, 100),
    _integer("of_window_size", _T, "Optical flow: window, in pixels.", 1),
    _integer("of_max_levels", _T, "Optical flow: levels of its pyramid."),
    _flag("use_kalman", _T, "Foresee movement with a Kalman filter."),
    _choice("kf_track_features", _T, "Kalman filter: what it follows.", "centroid", "keypoints"),
    _integer("kf_init_frame_count", _T, "Kalman filter: frames tracked before it begins.", 1),
    PredictOption("kf_node_indices", OptionKind.TEXT, _T, "Kalman filter: the points it follows, as 0,1,2."),
    _integer("kf_reset_gap_size", _T, "Kalman filter: lost frames after which it restarts."),
    _flag("post_connect_single_breaks", _T, "Join tracks where a single one broke."),
    _integer("tracking_target_instance_count", _T, "Animals in each frame, for joining and culling.", 1),
    _integer("tracking_pre_cull_to_target", _T, "1: cull animals beyond that number before tracking."),
    _float("tracking_pre_cull_iou_threshold", _T, "Overlap beyond which they are culled.", 0, 1),
    _integer("tracking_clean_instance_count", _T, "Animals to keep in each frame, after tracking."),
    _float("tracking_clean_iou_threshold", _T, "Overlap beyond which they are removed then.", 0, 1),
    _integer("track_buffer", _T, "Modern trackers: frames a lost track is kept."),
    _integer("min_hits", _T, "Modern trackers: matches that confirm a track."),
    _float("track_high_threshold", _T, "Modern trackers: score of a sure detection.", 0, 1),
    _float("track_low_threshold", _T, "Modern trackers: score of one to be ignored.", 0, 1),
    _float("new_track_threshold", _T, "Modern trackers: score that begins a track.", 0, 1),
    _float("min_match_similarity", _T, "Modern trackers: least similarity of a match.", 0, 1),
    _flag("link_tracklets", _T, "Join broken tracks, and mend swaps, afterwards."),
)  # fmt: skip
BY_NAME: Mapping[str, PredictOption] = MappingProxyType({option.name: option for option in OPTIONS})
NEED_LABELS = frozenset(
    {"only_suggested_frames", "only_labeled_frames", "only_predicted_frames", "exclude_user_labeled", "video_index"}
)
"""Options that apply only to labels, not to a video file."""


def read_options(given: Mapping[str, object]) -> dict[str, Value]:
    """Return checked options by name, in the order of the table; flags that are off and empty values are left out.

    Any option of tracking also sets `tracking`.

    Raises:
        RtcError: USAGE: an option is unknown, or its value is invalid.
    """
    for name in given:
        if name not in BY_NAME:
            raise RtcError(FaultCode.USAGE, f"{str(name)[:40]!r} is no option of prediction that can be passed on.")
    read = {name: option.read(given[name]) for name, option in BY_NAME.items() if given.get(name) is not None}
    chosen = {
        name: value for name, value in read.items() if value is not False or BY_NAME[name].kind is OptionKind.SWITCH
    }
    if any(BY_NAME[name].group is OptionGroup.TRACKING for name in chosen):
        chosen["tracking"] = True
    return {name: chosen[name] for name in BY_NAME if name in chosen}


def option_arguments(options: Mapping[str, Value]) -> list[str]:
    """Return the arguments of sleap-nn's command line for checked options."""
    return [argument for name, value in options.items() for argument in BY_NAME[name].arguments(value)]
