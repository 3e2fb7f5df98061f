"""training.html: its curves match sleap-nn's log, foreign texts are bounded and escaped, and it loads nothing."""

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from rtc.client.report import PAGE, write_report
from rtc.client.report.chart import Axis, render_chart, ticks
from rtc.client.report.history import History, read_histories
from rtc.client.report.measures import select_measures
from rtc.client.report.training_log import TRAINING_LOG_MAX

HEAD = "epoch,train/loss,val/loss,learning_rate,train/time\n"
LOG = HEAD + "0,,0.045,,\n1,0.048,0.040,0.001,5.1\n2,0.043,0.038,0.001,0.7\n"
"""A log as sleap-nn 0.3.5 writes it: the first row has no training loss, each other row that of the epoch before."""


def trained(output: Path, name: str = "centroid", log: str = LOG, **metrics: object) -> Path:
    """Create the folder of a trained model below a folder of results, with its log and its metrics by split."""
    run = output / "models" / name
    run.mkdir(parents=True)
    (run / "training_log.csv").write_text(log)
    for split, content in metrics.items():
        (run / f"metrics.{split}.0.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return run


class Elements(HTMLParser):
    """The tags of a page, the texts between them, and the attributes that would load something."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.loads += [name for name, _ in attrs if name in ("src", "href", "srcset", "onload", "onerror", "data")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def read(path: Path | None) -> str:
    assert path is not None
    return path.read_text()


# -------- reading logs and metrics


def test_each_training_loss_stands_at_its_own_epoch(tmp_path: Path) -> None:
    trained(tmp_path)
    [history] = read_histories(tmp_path, 9)
    assert history.train_losses == {1: 0.048, 2: 0.043}
    assert history.val_losses == {1: 0.045, 2: 0.040, 3: 0.038}
    assert (history.name, history.epochs, history.best, history.learning_rate) == ("centroid", 3, 3, 0.001)


def test_a_log_that_is_not_late_is_believed(tmp_path: Path) -> None:
    trained(tmp_path, log="epoch,train_loss,val_loss\n0,0.5,0.6\n1,0.4,0.5\n")
    assert read_histories(tmp_path, 9)[0].train_losses == {1: 0.5, 2: 0.4}


@pytest.mark.parametrize("odd", ["inf", "-inf", "nan", "", "1e999", "1e300", "<b>", "0x10"])
def test_cells_that_are_no_numbers_are_left_out(tmp_path: Path, odd: str) -> None:
    trained(tmp_path, log=f"{HEAD}0,,{odd},{odd},\n1,{odd},0.5,0.1,\n2,0.4,0.4,{odd},\n")
    [history] = read_histories(tmp_path, 9)
    assert (dict(history.train_losses), dict(history.val_losses)) == ({2: 0.4}, {2: 0.5, 3: 0.4})
    assert history.epochs == 3


@pytest.mark.parametrize(
    "log",
    [
        "",
        HEAD,
        "\x00\x01\x02",
        "a,b\n1,2\n",
        HEAD + "0\n1,2,3,4,5,6,7,8,9\n",
        HEAD + '0,,"' + "9" * 200_000 + '",,\n',
        "train/loss\n" * 3,
    ],
)
def test_an_odd_log_makes_a_page_all_the_same(tmp_path: Path, log: str) -> None:
    trained(tmp_path, log=log)
    assert "centroid" in read(write_report(tmp_path, "title"))


def test_a_huge_log_is_left_alone(tmp_path: Path) -> None:
    run = trained(tmp_path)
    with (run / "training_log.csv").open("ab") as file:
        file.truncate(TRAINING_LOG_MAX + 1)
    assert write_report(tmp_path, "title") is None


# -------- writing the page


def test_without_a_training_there_is_no_page(tmp_path: Path) -> None:
    (tmp_path / "video.predictions.slp").touch()
    assert write_report(tmp_path, "title") is None
    assert not (tmp_path / PAGE).exists()


def test_the_page_shows_each_model_and_stands_alone(tmp_path: Path) -> None:
    trained(tmp_path, "centroid")
    trained(tmp_path, "centered_instance", LOG.replace("0.038", "0.041"))
    path = write_report(tmp_path, "tiny.slp")
    assert path == tmp_path / PAGE
    assert [each.name for each in tmp_path.iterdir() if each.is_file()] == [PAGE]
    page = Elements(read(path))
    shown = " ".join(page.texts)
    for part in (
        "tiny.slp",
        "2 models",
        "centroid",
        "0.03800 (epoch 3)",
        "0.04000 (epoch 2)",
        "0.001",
        "best: epoch 2",
    ):
        assert part in shown
    assert page.tags.count("svg") == 2
    assert not page.loads
    assert not {"script", "link", "img", "iframe", "object"} & set(page.tags)
    assert "http" not in re.sub(r"http-equiv", "", read(path))


def test_a_second_page_takes_the_place_of_the_first(tmp_path: Path) -> None:
    trained(tmp_path)
    assert write_report(tmp_path, "one") == write_report(tmp_path, "two")
    assert "two" in read(tmp_path / PAGE)


def test_foreign_texts_are_only_texts(tmp_path: Path) -> None:
    evil = "<script>alert(1)<&script>\"'\x1b[31m"
    trained(tmp_path, evil)
    page = Elements(read(write_report(tmp_path, evil * 50)))
    assert "script" not in page.tags
    assert "<script>alert(1)<&script>\"'" in page.texts
    assert max(len(each) for each in page.texts if "alert" in each) < 250


METRICS = {
    "distance_metrics": {"avg": 2.15, "p50": 1.92, "p95": None, "dists": [[0.1]]},
    "mOKS": {"mOKS": 0.095},
    "pck_metrics": {"PCK@5": 0.926},
    "visibility_metrics": {"precision": 1.0, "tp": 12},
}


def test_what_sleap_nn_measured_is_a_table_in_words(tmp_path: Path) -> None:
    trained(tmp_path, val=METRICS, train={"detection_metrics": {"precision": 0.5}})
    texts = Elements(read(write_report(tmp_path, "title"))).texts
    start = texts.index("Mean distance, px")
    assert texts[start : start + 4] == ["Mean distance, px", "–", "2.15", "how far a point is from where you put it"]
    assert "92.6 %" in texts
    assert "50.0 %" in texts
    assert "95th percentile, px" not in texts


@pytest.mark.parametrize(
    "content",
    [
        "[]",
        "{",
        "[" * 100_000,
        '{"distance_metrics": 5}',
        '{"distance_metrics": {"avg": "<b>"}}',
        '{"mOKS": {"mOKS": NaN}}',
        '{"mOKS": {"mOKS": 1e400}}',
        '{"mOKS": {"mOKS": true}}',
        '{"mOKS": {"mOKS": ' + "9" * 4000 + "}}",
        "\udcff",
    ],
)
def test_odd_measures_are_not_shown(tmp_path: Path, content: str) -> None:
    run = trained(tmp_path)
    (run / "metrics.val.0.json").write_bytes(content.encode("utf-8", "surrogateescape"))
    assert select_measures(read_histories(tmp_path, 9)[0].metrics) == []
    assert "as sleap-nn measured it" not in read(write_report(tmp_path, "title"))


# -------- the chart


def points(svg: str, name: str) -> list[tuple[float, float]]:
    """Return the points of one curve, in pixels."""
    for line in ET.fromstring(svg).iter("polyline"):
        if line.get("class") == name:
            return [
                (float(x), float(y)) for x, _, y in (each.partition(",") for each in line.get("points", "").split())
            ]
    return []


def test_a_point_for_each_epoch_and_the_lower_the_loss_the_lower_the_point() -> None:
    svg = render_chart(History("m", 4, {1: 0.4, 2: 0.3, 3: 0.2}, {1: 0.5, 2: 0.4, 3: 0.3, 4: 0.35}))
    train, val = points(svg, "train"), points(svg, "val")
    assert [x for x, _ in train] == [x for x, _ in val][:3]
    assert [y for _, y in train] == sorted(y for _, y in train)
    assert val[2][1] == max(y for _, y in val)
    assert "best: epoch 3" in svg


def test_ten_thousand_epochs_make_no_more_points_than_there_are_pixels() -> None:
    svg = render_chart(History("m", 10_000, {}, {epoch: 1 / epoch for epoch in range(1, 10_001)}))
    assert len(points(svg, "val")) <= 760
    assert "loss (log scale)" in svg
    assert len(svg) < 20_000


@pytest.mark.parametrize(
    "losses", [{1: 0.0}, {7: 3.0}, {1: -1.0, 2: 1.0}, {1: 0.5, 2: 0.5}, {1: 1e-300, 2: 1e300}, {1: 5e-324, 2: 1.0}]
)
def test_odd_losses_are_drawn_all_the_same(losses: dict[int, float]) -> None:
    svg = render_chart(History("m", max(losses), {}, losses))
    assert ET.fromstring(svg).tag == "svg"
    assert "nan" not in svg
    assert "inf" not in svg


def test_ticks_are_round_numbers_and_few() -> None:
    assert ticks(Axis(1, 30, 0, 1)) == [5, 10, 15, 20, 25, 30]
    assert ticks(Axis(0.002, 0.051, 0, 1)) == pytest.approx([0.01, 0.02, 0.03, 0.04, 0.05])
    assert ticks(Axis(0.003, 2, 0, 1, log=True)) == [0.01, 0.1, 1]
    assert len(ticks(Axis(1e-300, 1e300, 0, 1, log=True))) < 10
