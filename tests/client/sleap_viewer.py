"""SLEAP's real LossViewer, for `test_sleap_gui.py`. Runs in SLEAP's own environment, not in ours.

    QT_QPA_PLATFORM=offscreen python sleap_viewer.py CONTROLLER_PORT PUBLISH_PORT      (0: any free one)

When the viewer is open, this program prints its ports. Then it reads commands, one per line, and answers each with what
the viewer shows, as JSON: `look`, `stop` (its button "Stop Early"), `reset HEAD` (as SLEAP's dialog does before each
model). It ends at the end of its input.
"""

import json
import os
import queue
import sys
import threading

import zmq
from qtpy import QtCore, QtWidgets
from sleap.gui.utils import select_zmq_port
from sleap.gui.widgets.monitor import LossViewer

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # SLEAP's log goes to stdout


def shown(viewer):
    """Return what a person would see, read from the plot itself."""
    lines = {name: viewer.mp_series[name].get_xydata().tolist() for name in ("train_loss", "val_loss")}
    dots = {name: viewer.mp_series[name].get_offsets().tolist() for name in ("batch", "val_loss_best")}
    axes = viewer.canvas.axes
    return {
        **lines,
        **dots,
        "what": viewer.current_job_output_type,
        "running": viewer.is_running,
        "title": axes.get_title(),
        "axis": list(axes.get_xlim()),
        "stop": viewer.stop_button.text(),
    }


def reply(answer):
    print(json.dumps(answer, default=float), file=ANSWERS, flush=True)


def run_commands(viewer, commands, app):
    while not commands.empty():
        match commands.get().split():
            case []:
                app.quit()
                return
            case ["stop"]:
                viewer.stop_button.click()
            case ["reset", head]:
                viewer.reset(what=head)
        reply(shown(viewer))


def read_commands(commands):
    for line in sys.stdin:
        commands.put(line)
    commands.put("")


def main(controller, publish):
    app = QtWidgets.QApplication([])
    context = zmq.Context()
    ports = {
        "controller_port": controller or select_zmq_port(context),
        "publish_port": publish or select_zmq_port(context),
    }
    viewer = LossViewer(zmq_ports=ports)
    viewer.show()
    commands = queue.Queue()
    threading.Thread(target=read_commands, args=(commands,), daemon=True).start()
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: run_commands(viewer, commands, app))
    timer.start(20)
    reply(viewer.zmq_ports)
    app.exec()
    viewer.close()


main(*map(int, sys.argv[1:]))
