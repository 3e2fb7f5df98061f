"""The metrics of sleap-nn that the page shows, with labels and explanations for biologists."""

from collections.abc import Mapping

from attrs import frozen

from rtc.client.report.history import Metrics


@frozen
class Measure:
    """One number of a metrics file, and how the page shows it."""

    section: str
    key: str
    label: str
    meaning: str
    percent: bool = False
    """The number is a share from 0 to 1, shown in percent."""


MEASURES = (
    Measure("distance_metrics", "avg", "Mean distance, px", "how far a point is from where you put it"),
    Measure("distance_metrics", "p50", "Median distance, px", "half of the points are nearer than this"),
    Measure(
        "distance_metrics", "p95", "95th percentile, px", "all but the worst 5 % of the points are nearer than this"
    ),
    Measure("mOKS", "mOKS", "mOKS", "likeness of whole animals, from 0 to 1 (best)"),
    Measure("voc_metrics", "oks_voc.mAP", "mAP (OKS)", "found animals that are right, from 0 to 1 (best)"),
    Measure("pck_metrics", "PCK@5", "PCK within 5 px", "points at most 5 pixels off", percent=True),
    Measure(
        "detection_metrics", "precision", "Precision", "of the animals it found, those that are there", percent=True
    ),
    Measure("detection_metrics", "recall", "Recall", "of the animals that are there, those it found", percent=True),
    Measure(
        "visibility_metrics",
        "precision",
        "Visible: precision",
        "of the points it shows, those that are there",
        percent=True,
    ),
    Measure(
        "visibility_metrics", "recall", "Visible: recall", "of the points that are there, those it shows", percent=True
    ),
)


def select_measures(metrics: Mapping[str, Metrics]) -> list[tuple[Measure, dict[str, float]]]:
    """Return each measure of MEASURES that the metrics contain, with its number by split."""
    rows = ((measure, _values(measure, metrics)) for measure in MEASURES)
    return [(measure, values) for measure, values in rows if values]


def _values(measure: Measure, metrics: Mapping[str, Metrics]) -> dict[str, float]:
    found = {split: of_split.number(measure.section, measure.key) for split, of_split in metrics.items()}
    return {split: value for split, value in found.items() if value is not None}
