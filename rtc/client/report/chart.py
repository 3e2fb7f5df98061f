"""An SVG chart of the training and validation loss of one model. The page's style sheet sets colours and fonts."""

import math
from collections.abc import Mapping

from attrs import frozen

from rtc.client.report.history import History
from rtc.common.loss_curves import mean_by_column, needs_log_scale

WIDTH, HEIGHT = 760, 320
"""Size of the chart in SVG user units, called pixels here."""
LEFT, RIGHT, TOP, BOTTOM = 64, 16, 16, 44
"""Margins around the curves, for labels; in pixels."""
COLUMNS = WIDTH - LEFT - RIGHT
"""Maximum number of points of a curve: one for each pixel."""
TICKS = 6
"""Approximate number of ticks on an axis."""


@frozen
class Axis:
    """One axis of the chart: a linear or logarithmic map from values to pixels."""

    low: float
    high: float
    start: float
    """The pixel of `low`."""
    end: float
    """The pixel of `high`."""
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of this value."""
        low, high, at = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        return self.start + (self.end - self.start) * ((at - low) / (high - low))


def render_chart(history: History) -> str:
    """Return the chart of one model as SVG: curves, axes and a mark at the best epoch; empty when it has no losses."""
    losses = [*history.train_losses.values(), *history.val_losses.values()]
    if not losses:
        return ""
    last = max(2, *history.train_losses, *history.val_losses)
    x = Axis(1, last, LEFT, WIDTH - RIGHT)
    y = _loss_axis(min(losses), max(losses), log=needs_log_scale(losses))
    parts = [
        *(_y_tick(y(tick), _short(tick)) for tick in ticks(y)),
        *(_x_tick(x(tick), f"{tick:.0f}") for tick in (1.0, *ticks(x)) if tick == round(tick)),
        f'<text class="name" x="{(LEFT + WIDTH - RIGHT) / 2:.0f}" y="{HEIGHT - 6}" text-anchor="middle">epoch</text>',
        f'<text class="name" transform="rotate(-90 14 {HEIGHT / 2:.0f})" x="14" y="{HEIGHT / 2:.0f}" '
        f'text-anchor="middle">loss{" (log scale)" if y.log else ""}</text>',
        _curve("train", history.train_losses, last, x, y),
        _curve("val", history.val_losses, last, x, y),
        _best_mark(history, x, y),
    ]
    label = f"Training and validation loss over {history.epochs} epochs"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}">\n'
        + "\n".join(filter(None, parts))
        + "\n</svg>"
    )


def _loss_axis(low: float, high: float, *, log: bool) -> Axis:
    """Return the vertical axis, with a small margin beyond the losses so that no curve touches the border."""
    if log:
        return Axis(low / 1.2, high * 1.2, HEIGHT - BOTTOM, TOP, log=True)
    margin = (high - low) * 0.06 or abs(high) * 0.1 or 1.0
    return Axis(max(0.0, low - margin) if low >= 0 else low - margin, high + margin, HEIGHT - BOTTOM, TOP)


def ticks(axis: Axis) -> list[float]:
    """Return round values inside the range of an axis, about TICKS of them."""
    if axis.log:
        lowest, highest = math.floor(math.log10(axis.low)), math.ceil(math.log10(axis.high))
        found = [10.0**power for power in range(lowest, highest + 1, max(1, (highest - lowest) // TICKS))]
    else:
        rough = (axis.high - axis.low) / TICKS
        unit = 10.0 ** math.floor(math.log10(rough))
        step = next(unit * factor for factor in (1, 2, 5, 10) if unit * factor >= rough)
        first = math.ceil(axis.low / step)
        found = [number * step for number in range(first, first + 2 * TICKS + 2)]
    return [value for value in found if axis.low <= value <= axis.high]


def _short(value: float) -> str:
    return f"{value:.3g}"


def _y_tick(y: float, label: str) -> str:
    line = f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{label}</text>'


def _x_tick(x: float, label: str) -> str:
    bottom = HEIGHT - BOTTOM
    line = f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="{bottom}" y2="{bottom + 5}"/>'
    return f'{line}<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle">{label}</text>'


def _curve(name: str, losses: Mapping[int, float], last: int, x: Axis, y: Axis) -> str:
    """Return one curve; `losses` by epoch, `last` is the last epoch of the chart."""
    if not losses:
        return ""
    columns = min(last, COLUMNS)  # with few epochs, each epoch has its own point
    spread = max(1, columns - 1)
    points = [
        (x.start + (x.end - x.start) * column / spread, y(value))
        for column, value in mean_by_column(losses, last, columns).items()
    ]
    if len(points) == 1:
        return f'<circle class="dot {name}" cx="{points[0][0]:.1f}" cy="{points[0][1]:.1f}" r="3"/>'
    return f'<polyline class="{name}" points="{" ".join(f"{left:.1f},{top:.1f}" for left, top in points)}"/>'


def _best_mark(history: History, x: Axis, y: Axis) -> str:
    """Return a mark at the best epoch, whose weights sleap-nn keeps."""
    if history.best is None:
        return ""
    left, top = x(history.best), y(history.val_losses[history.best])
    side, shift = ("end", -8) if left > WIDTH / 2 else ("start", 8)
    position = f'x="{left + shift:.1f}" y="{TOP + 10}" text-anchor="{side}"'
    return (
        f'<line class="best" x1="{left:.1f}" x2="{left:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        f'<circle class="dot val" cx="{left:.1f}" cy="{top:.1f}" r="4"/>'
        f'<text class="note" {position}>best: epoch {history.best}</text>'
    )
