"""The stand-in program: sleap-nn's commands, its messages in the same order, and its files, without any training.

It runs as a separate program, so it imports no other module of sleap-rtc.
"""

import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml
import zmq

KNOBS: dict[str, Any] = {
    "epochs": 3,  # unless trainer_config.max_epochs is set
    "batches": 2,  # per epoch
    "seconds": 0.02,  # per epoch
    "wait_for": "",  # path of a file: the last epoch ends when it exists, or with a command to stop
    "status": 0,  # exit status, after training
    "crash": "",  # text on stderr instead of training; exit status 1
    "say": [],  # lines printed before training
    "say_variables": [],  # names of environment variables printed before training, as NAME=VALUE
    "ignore_sigterm": False,
    "grandchild": False,  # start a process that would live for an hour; its id goes to `grandchild.pid`
    "megabytes": 0,  # size of best.ckpt, besides a few bytes
    "no_model": False,  # leave no best.ckpt
    "startup": 0,  # seconds before it can receive or print anything, as the real program needs for its imports
    "evaluation": 0,  # seconds between the last epoch and the end
    "frames": 16,  # number of frames to predict on, unless --frames is given
    "predicting": 0.1,  # seconds for all frames, and again for tracking
    "predict_crash": "",  # a reason for failing in the middle of predicting
    "no_predictions": False,  # write no predictions file
}
_DESCRIBED = "stand-in: "
PIPELINES = {
    "single_instance": ("single_instance",),
    "topdown": ("centroid", "centered_instance"),
    "bottomup": ("bottomup",),
}
"""The pipelines for which it writes configurations, and the heads of their models."""
RECOMMENDED = "Only one animal detected per frame"
TOY_LABELS = b"no real labels\n"
WIRE_TIME = 60_000
"""Milliseconds to wait for the subscription to our messages, and for the last of them to be taken: both need some, and
only where nobody listens any more do they take so long."""


def describe_knobs(knobs: dict[str, Any]) -> str:
    """Return the knobs as the `description` of a configuration."""
    return f"{_DESCRIBED}{json.dumps(knobs)}"


def knobs_of(tree: dict[str, Any]) -> dict[str, Any]:
    """Return the knobs in a configuration."""
    text = str(tree.get("description") or "")
    knobs: dict[str, Any] = json.loads(text.removeprefix(_DESCRIBED)) if text.startswith(_DESCRIBED) else {}
    return knobs


class _Run:
    """One simulated training. Its socket for messages is an XPUB, which is a PUB that can see subscriptions come."""

    def __init__(self, tree: dict[str, Any]) -> None:
        trainer = tree.get("trainer_config") or {}
        self.knobs = KNOBS | {"epochs": trainer.get("max_epochs") or KNOBS["epochs"]} | knobs_of(tree)
        self.tree = tree
        self.folder = Path(trainer.get("ckpt_dir") or ".") / (trainer.get("run_name") or "run")
        ports = trainer.get("zmq") or {}
        self.context = zmq.Context()
        self.publish = self._connect(zmq.XPUB, ports.get("publish_port"))
        self.control = self._connect(zmq.SUB, ports.get("controller_port"))

    def _connect(self, kind: int, port: int | None) -> "zmq.Socket[bytes] | None":
        if port is None:
            return None
        socket = self.context.socket(kind)
        socket.connect(f"tcp://127.0.0.1:{port}")
        if kind == zmq.SUB:
            socket.setsockopt(zmq.SUBSCRIBE, b"")
        else:
            # what is published before the subscription has come is lost; the real program imports for seconds first
            socket.poll(WIRE_TIME)
        return socket

    def send_event(self, event: str, **fields: Any) -> None:
        if self.publish is not None:
            self.publish.send_string(json.dumps({"what": "", "event": event, "logs": None} | fields))

    def stop_requested(self, seconds: float) -> bool:
        """Return whether the command to stop comes within this time; without one, the whole time passes."""
        if self.control is None:
            time.sleep(seconds)
            return False
        if not self.control.poll(math.ceil(1000 * seconds)):
            return False
        return bool(json.loads(self.control.recv()).get("command") == "stop")

    def train(self) -> int:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in ("initial_config.yaml", "training_config.yaml"):
            (self.folder / name).write_text(yaml.safe_dump(self.tree))
        (self.folder / "viz").mkdir(exist_ok=True)
        (self.folder / "viz" / "train.0000.png").write_bytes(b"picture")
        self.send_event("train_begin", wandb_url=None)
        with (self.folder / "training_log.csv").open("w") as log:
            log.write("epoch,train/loss,val/loss,learning_rate\n")
            for epoch in range(self.knobs["epochs"]):
                if self.epoch(epoch, log):
                    break
        self.send_event("train_end")
        self.context.destroy(linger=WIRE_TIME)
        time.sleep(self.knobs["evaluation"])
        for part in ("train", "val"):
            (self.folder / f"labels_pr.{part}.0.slp").write_bytes(TOY_LABELS)
        return int(self.knobs["status"])

    def epoch(self, epoch: int, log: io.TextIOBase) -> bool:
        """Simulate one epoch; return true when a stop was requested.

        As in the real program, `train/loss` is the loss of the previous epoch.
        """
        self.send_event("epoch_begin", epoch=epoch)
        loss, previous_loss = 1 / (epoch + 1), 1 / epoch if epoch else None
        stopped = False
        for batch in range(self.knobs["batches"]):
            self.send_event("batch_start", batch=batch)
            stopped = self.stop_requested(self.knobs["seconds"] / self.knobs["batches"])
            self.send_event("batch_end", epoch=epoch, batch=batch, logs={"loss": loss, "eval/val/dist_avg": math.inf})
            if stopped:
                break
        while epoch + 1 == self.knobs["epochs"] and not stopped and self.is_held():
            stopped = self.stop_requested(0.02)
        logs = {"loss": loss, "val/loss": loss * 1.1, "eval/val/dist_avg": math.inf, "epoch": float(epoch)}
        self.send_event(
            "epoch_end", epoch=epoch, logs=logs if previous_loss is None else logs | {"train/loss": previous_loss}
        )
        log.write(f"{epoch},{'' if previous_loss is None else previous_loss},{loss * 1.1},0.001\n")
        log.flush()
        print(f"2026-01-01 12:00:00 | epoch {epoch} done", flush=True)
        if not self.knobs["no_model"]:
            self.save()
        return stopped

    def is_held(self) -> bool:
        return bool(self.knobs["wait_for"]) and not Path(self.knobs["wait_for"]).exists()

    def save(self) -> None:
        with (self.folder / "best.ckpt").open("wb") as file:
            file.write(b"stand-in model\n")
            for _ in range(self.knobs["megabytes"]):
                file.write(os.urandom(2**20))


def _read_config(arguments: list[str]) -> dict[str, Any]:
    """Return the configuration with the `++` overrides applied; the values we write mean the same in Hydra and YAML."""
    tree: dict[str, Any] = yaml.safe_load(Path(arguments[arguments.index("--config") + 1]).read_text())
    for argument in arguments:
        if not argument.startswith("++"):
            continue
        key, _, value = argument.removeprefix("++").partition("=")
        node = tree
        *outer, last = key.split(".")
        for part in outer:
            if not isinstance(node.get(part), dict):
                node[part] = {}
            node = node[part]
        node[last] = yaml.safe_load(value)
    return tree


def _apply_knobs(knobs: dict[str, Any]) -> None:
    if knobs.get("ignore_sigterm"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if knobs.get("grandchild"):
        command = [sys.executable, "-c", "import time; time.sleep(3600)"]
        process = subprocess.Popen(command)
        Path("grandchild.pid").write_text(str(process.pid))
    for line in knobs.get("say", ()):
        print(line, flush=True)
    for name in knobs.get("say_variables", ()):
        print(f"{name}={os.environ.get(name)}", flush=True)


def convert(arguments: list[str]) -> int:
    """Imitate sleap-nn's Python running our converter: convert the parts of a legacy configuration that we need."""
    source, target = arguments[-2:]  # before them: Python's own options and the converter's path
    old = json.loads(Path(source).read_text())
    heads: dict[str, Any] = {name: {} for name, head in old["model"]["heads"].items() if head}
    knobs = old.get("stand_in") or {}
    time.sleep(knobs.get("startup", 0))
    new = {
        "data_config": {"train_labels_path": [old["data"]["labels"]["training_labels"]]},
        "model_config": {"head_configs": heads},
        "trainer_config": {"max_epochs": old["optimization"]["epochs"]},
        "description": describe_knobs(knobs),
    }
    Path(target).write_text(yaml.safe_dump(new))
    return 0


def configure(arguments: list[str]) -> int:
    """Run `config LABELS --auto -o FILE [--pipeline=P]`: write the configurations of a pipeline, with its knobs.

    The knobs are in a file beside the labels, `stand_in.yaml`, as the labels are not read; `recommend` in it is the
    pipeline that it chooses.
    """
    labels, _, _, target, *rest = arguments
    knobs = _labels_knobs(labels)
    if knobs.pop("no_config", False):
        print("Error: No such command 'config'.", file=sys.stderr)
        return 2
    _apply_knobs(knobs)
    pipeline = rest[0].removeprefix("--pipeline=") if rest else knobs.pop("recommend", "single_instance")
    if pipeline not in PIPELINES:
        print("╭─ Error ─╮", f"│ Invalid value for '--pipeline': '{pipeline}' │", "╰─╯", sep="\n", file=sys.stderr)
        return 2
    time.sleep(knobs.pop("configuring", 0))
    if crash := knobs.pop("config_crash", ""):
        print("Traceback (most recent call last):", crash, sep="\n", file=sys.stderr)
        return 1
    path = Path(target)
    for head in PIPELINES[pipeline]:
        suffix = f"_{head}" if len(PIPELINES[pipeline]) > 1 else ""
        path.with_stem(path.stem + suffix).write_text(yaml.safe_dump(_written_config(labels, head, knobs)))
        print(f"Saved config to: {path.with_stem(path.stem + suffix)}")
    return 0


def _labels_knobs(labels: str) -> dict[str, Any]:
    path = Path(labels).with_name("stand_in.yaml")
    return (yaml.safe_load(path.read_text()) or {}) if path.is_file() else {}


def _written_config(labels: str, head: str, knobs: dict[str, Any]) -> dict[str, Any]:
    """Return a configuration as sleap-nn writes it: it names the labels by their path on this machine."""
    return {
        "data_config": {"train_labels_path": [str(Path(labels).resolve())], "val_labels_path": None},
        "model_config": {"head_configs": {head: {"confmaps": {"sigma": 2.5}}}},
        "trainer_config": {"max_epochs": 200, "ckpt_dir": "./models", "run_name": None},
        "stand_in": knobs,
    }


def explain(arguments: list[str]) -> int:
    """Imitate sleap-nn's Python running our program that prints sleap-nn's recommendation."""
    knobs = _labels_knobs(arguments[-1])
    print("a line of a library", flush=True)
    print(json.dumps({"pipeline": knobs.get("recommend", "single_instance"), "reason": RECOMMENDED}))
    return 0


def predict(arguments: list[str]) -> int:
    """Run `predict --gui …`: report progress over the frames (twice with tracking), then write the output file."""
    pairs = [(argument, arguments[at + 1]) for at, argument in enumerate(arguments[:-1]) if argument.startswith("--")]
    options = dict(pairs)
    models = [Path(value) for argument, value in pairs if argument == "--model_paths"]
    knobs = KNOBS | (_knobs_of(models[0]) if models else {})
    _apply_knobs(knobs)
    time.sleep(knobs["startup"])
    print("2026-01-01 12:00:00 | predicting", file=sys.stderr, flush=True)
    for path in (Path(options["--data_path"]), *models):
        if not path.exists():
            return _predict_error("FileNotFoundError", f"No such file: {path.absolute()}")
    frames = _frame_count(options.get("--frames", "")) or knobs["frames"]
    passes = 2 if "--tracking" in arguments and models else 1
    for pass_index in range(passes):
        for done in range(1, frames + 1):
            time.sleep(knobs["predicting"] / frames)
            line = {"n_processed": done, "n_total": frames, "rate": 10.0, "eta": (frames - done) / 10}
            print(json.dumps(line), flush=True)
            if knobs["predict_crash"] and pass_index == passes - 1 and done > frames // 2:
                return _predict_error("RuntimeError", knobs["predict_crash"])
    if not knobs["no_predictions"]:
        Path(options["--output_path"]).write_bytes(TOY_LABELS)
    return int(knobs["status"])


def _knobs_of(model: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((model / "training_config.yaml").read_text())
    return knobs_of(tree)


def _frame_count(frames: str) -> int:
    first, dash, last = frames.partition("-")
    return int(last) - int(first) + 1 if dash else len([frame for frame in frames.split(",") if frame])


def _predict_error(kind: str, text: str) -> int:
    print(json.dumps({"error": True, "type": kind, "message": text}), flush=True)
    print("Traceback (most recent call last):", f"{kind}: {text}", sep="\n", file=sys.stderr)
    return 1


def main(arguments: list[str]) -> int:
    """Run `train --config X [++overrides]`, `config …`, `predict --gui …` or `convert`; return the exit status."""
    if arguments[:1] == ["convert"]:
        is_explainer = any(argument.endswith("explain_config.py") for argument in arguments)
        return explain(arguments) if is_explainer else convert(arguments[1:])
    if arguments[:1] == ["config"]:
        return configure(arguments[1:])
    if arguments[:2] == ["predict", "--gui"]:
        return predict(arguments[2:])
    if arguments[:1] != ["train"] or "--config" not in arguments:
        print("Usage: sleap-nn train --config FILE", file=sys.stderr)
        return 2
    tree = _read_config(arguments)
    knobs = knobs_of(tree)
    _apply_knobs(knobs)
    for label in tree["data_config"]["train_labels_path"]:
        if not Path(label).is_file():
            print(f"FileNotFoundError: {label}", file=sys.stderr)
            return 1
    if knobs.get("crash"):
        print(knobs["crash"], file=sys.stderr)
        return 1
    time.sleep(knobs.get("startup", 0))
    return _Run(tree).train()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
