"""The HTML of `training.html`: one file that opens in any browser, without a network, a script or sleap-rtc."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from rtc.client.report.chart import render_chart
from rtc.client.report.history import SPLITS, History
from rtc.client.report.measures import Measure, select_measures
from rtc.common.sizes import count
from rtc.common.text import clean, loss

MODEL_NAME_MAX = 200
"""Maximum number of characters that are shown of a name or another text from elsewhere."""
POLICY = "default-src 'none'; style-src 'unsafe-inline'"
"""Content-Security-Policy of the page: it may load nothing, because names in it come from other people."""
STYLE = """
:root { color-scheme: light dark; --paper: #fff; --ink: #1d2329; --soft: #5c6770; --line: #dfe4e8; --card: #f6f8f9;
  --train: #1f77b4; --val: #d9480f; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181c; --ink: #e4e8eb; --soft: #98a4ae; --line: #2d353c;
  --card: #1b2127; --train: #6cb6ff; --val: #ff9a5c; } }
body { margin: 0 auto; max-width: 860px; padding: 32px 20px 48px; background: var(--paper); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 40px 0 8px; overflow-wrap: anywhere; }
p { margin: 8px 0; } .soft { color: var(--soft); }
.sheet { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; margin: 12px 0; font-size: .92rem; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { color: var(--soft); font-weight: 500; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.name { overflow-wrap: anywhere; }
figure { margin: 12px 0; padding: 12px 12px 8px; background: var(--card); border-radius: 10px; }
svg { display: block; width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--soft); }
svg .grid { stroke: var(--line); } svg .tick { stroke: var(--soft); }
svg polyline { fill: none; stroke-width: 2; stroke-linejoin: round; }
svg polyline.train { stroke: var(--train); stroke-dasharray: 6 3; } svg polyline.val { stroke: var(--val); }
svg .dot.train { fill: var(--train); } svg .dot.val { fill: var(--val); }
svg .best { stroke: var(--val); stroke-dasharray: 2 4; opacity: .7; }
svg .note { fill: var(--val); font-weight: 600; }
figcaption { font-size: .88rem; color: var(--soft); padding: 4px 4px 0 52px; }
.key { display: inline-block; width: 26px; vertical-align: middle; margin: 0 6px 0 0; }
.key.train { border-top: 2px dashed var(--train); } .key.val { border-top: 2px solid var(--val); }
.key + span { margin-right: 20px; }
footer { margin-top: 48px; font-size: .85rem; color: var(--soft); }
"""
MEANING = (
    "The loss says how far the model is from your labels: lower is better. <b>Training loss</b> is on the frames it "
    "learns from, <b>validation loss</b> on frames kept aside, so the second tells how it will do on new video. Where "
    "validation rises while training still falls, the model has begun to learn its frames by heart; the model you got "
    "is the one of the best epoch, before that."
)


def render_page(title: str, histories: Sequence[History]) -> str:
    """Return the complete page as HTML; it shows the models in the given order."""
    shown = _safe_text(title)
    trained = count(len(histories), "model")
    parts = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{shown}: training</title><style>{STYLE}</style></head><body>",
        f'<h1>{shown}</h1><p class="soft">How the training of {trained} went.</p>',
        _overview_table(histories),
        f"<p>{MEANING}</p>",
        *(_model_section(history) for history in histories),
        "<footer>Written by sleap-rtc from sleap-nn's training_log.csv and metrics beside the models.</footer>",
        "</body></html>",
    ]
    return "\n".join(parts) + "\n"


def _overview_table(histories: Sequence[History]) -> str:
    head = ("Model", "Epochs", "Best validation loss", "Last validation loss", "Last training loss", "Learning rate")
    rows = [
        (
            history.name,
            str(history.epochs),
            _best_loss(history),
            _last_loss(history.val_losses),
            _last_loss(history.train_losses),
            _learning_rate(history.learning_rate),
        )
        for history in histories
    ]
    return _html_table(head, rows, numbers=range(1, 6))


def _best_loss(history: History) -> str:
    return "–" if history.best is None else f"{loss(history.val_losses[history.best])} (epoch {history.best})"


def _last_loss(losses: Mapping[int, float]) -> str:
    return loss(losses[max(losses)]) if losses else "–"


def _learning_rate(learning_rate: float | None) -> str:
    return "–" if learning_rate is None else f"{learning_rate:.2g}"


def _model_section(history: History) -> str:
    parts = [f"<h2>{_safe_text(history.name)}</h2>"]
    if picture := render_chart(history):
        parts.append(f"<figure>{picture}<figcaption>{_legend(history)}</figcaption></figure>")
    else:
        parts.append('<p class="soft">Its log holds no losses, so there is nothing to draw.</p>')
    if rows := select_measures(history.metrics):
        parts.append("<p>What the finished model does on labelled frames, as sleap-nn measured it:</p>")
        parts.append(_measures_table(rows))
    return "\n".join(parts)


def _legend(history: History) -> str:
    keys = (("train", "training", history.train_losses), ("val", "validation", history.val_losses))
    return "".join(f'<i class="key {name}"></i><span>{label}</span>' for name, label, losses in keys if losses)


def _measures_table(rows: Sequence[tuple[Measure, dict[str, float]]]) -> str:
    head = ("", "Training frames", "Validation frames", "")
    cells = [
        (measure.label, *(_format_value(measure, values.get(split)) for split in SPLITS), measure.meaning)
        for measure, values in rows
    ]
    return _html_table(head, cells, numbers=(1, 2))


def _format_value(measure: Measure, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if measure.percent else f"{value:.3g}"


def _html_table(head: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[int]) -> str:
    classes = {0: ' class="name"'} | dict.fromkeys(numbers, ' class="number"')
    top = "".join(f"<th{classes.get(column, '')}>{_safe_text(cell)}</th>" for column, cell in enumerate(head))
    body = (
        "".join(f"<td{classes.get(column, '')}>{_safe_text(cell)}</td>" for column, cell in enumerate(row))
        for row in rows
    )
    lines = "\n".join(f"<tr>{line}</tr>" for line in body)
    return f'<div class="sheet"><table><thead><tr>{top}</tr></thead><tbody>\n{lines}\n</tbody></table></div>'


def _safe_text(text: str) -> str:
    """Return a text from elsewhere, shortened and escaped, so that a browser shows it and finds no HTML in it."""
    return escape(clean(text)[:MODEL_NAME_MAX])
