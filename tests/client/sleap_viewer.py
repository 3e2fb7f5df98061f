"""SLEAP's real LossViewer, for `test_sleap_gui.py`. Runs in SLEAP's own environment, not in ours.

    QT_QPA_PLATFORM=offscreen python sleap_viewer.py CONTROLLER_PORT PUBLISH_PORT      (0: any free one)

It says its ports when it is open. Then it does what it reads, a line each, and answers each with what it shows:
`look`, `stop` (its button "Stop Early"), `reset HEAD` (as SLEAP's dialog does before each model). It ends with its
input.
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
    """What a person would see, read from the plot itself."""
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


def say(answer):
    print(json.dumps(answer, default=float), file=ANSWERS, flush=True)


def obey(viewer, words, app):
    while not words.empty():
        match words.get().split():
            case []:
                app.quit()
                return
            case ["stop"]:
                viewer.stop_button.click()
            case ["reset", head]:
                viewer.reset(what=head)
        say(shown(viewer))


def read(words):
    for line in sys.stdin:
        words.put(line)
    words.put("")


def main(controller, publish):
    app = QtWidgets.QApplication([])
    context = zmq.Context()
    ports = {
        "controller_port": controller or select_zmq_port(context),
        "publish_port": publish or select_zmq_port(context),
    }
    viewer = LossViewer(zmq_ports=ports)
    viewer.show()
    words = queue.Queue()
    threading.Thread(target=read, args=(words,), daemon=True).start()
    timer = QtCore.QTimer()
    timer.timeout.connect(lambda: obey(viewer, words, app))
    timer.start(20)
    say(viewer.zmq_ports)
    app.exec()
    viewer.close()


main(*map(int, sys.argv[1:]))
