"""The settings of sleap-nn that the worker chooses itself, whatever a configuration, an override or a script says.

`WORKER_SETTINGS` is the one list of them: they are removed from each configuration, left out of the overrides, and set
on sleap-nn's command line (`rtc.sleap_nn.commands`). They are those settings of sleap-nn 0.3.5
(`config/trainer_config.py` and `config/data_config.py`) that choose hardware, processes, ports or places, and those
without which no model would be left.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from attrs import frozen

from protocol.fields import printable
from rtc.packages.setting_paths import get_setting, without_setting

VALUE_MAX = 40
"""Characters of a value that a sentence shows."""


@frozen
class WorkerSetting:
    """One setting, or all settings below a key."""

    key: str
    what: str
    """What the worker chooses by it: the end of the sentence "the worker chooses …"."""
    usual: frozenset[str] = frozenset()
    """Values that a configuration has without asking for anything; of others the person is told that they are left
    out. Empty: the person is told of none."""
    only: frozenset[str] = frozenset()
    """The only values that the worker replaces; empty: all."""


_DEVICES, _FOLDERS, _PORTS = "its devices", "its folders", "its ports"
DEVICES_KEY, INDICES_KEY = "trainer_config.trainer_devices", "trainer_config.trainer_device_indices"
_ONE = frozenset({"", "null", "None", "auto", "0", "1"})

WORKER_SETTINGS = (
    WorkerSetting("trainer_config.trainer_accelerator", _DEVICES),
    WorkerSetting(DEVICES_KEY, _DEVICES, _ONE),
    WorkerSetting(INDICES_KEY, _DEVICES, frozenset({"", "null", "None", "[]", "[0]"})),
    WorkerSetting("trainer_config.trainer_strategy", _DEVICES, frozenset({"", "null", "None", "auto"})),
    WorkerSetting("trainer_config.zmq", _PORTS),
    WorkerSetting("trainer_config.ckpt_dir", _FOLDERS),
    WorkerSetting("trainer_config.run_name", _FOLDERS),
    WorkerSetting("trainer_config.save_ckpt", "to save each model"),
    # with 0 there is no best.ckpt, as with save_ckpt: false
    WorkerSetting("trainer_config.model_ckpt.save_top_k", "to save each model", only=frozenset({"0"})),
    WorkerSetting("data_config.cache_img_path", _FOLDERS),
    # images of an earlier run are on the computer that made them; those of this run would be sent home with the model
    WorkerSetting("data_config.use_existing_imgs", _FOLDERS),
    WorkerSetting("data_config.delete_cache_imgs_after_training", _FOLDERS),
)

WORKER_OPTIONS = {
    **dict.fromkeys(("device", "cpu", "gpu", "first_gpu", "last_gpu"), _DEVICES),
    **dict.fromkeys(("cpu_workers", "paf_workers", "queue_maxsize"), "its processes"),
}
"""The same for the options of prediction: those of sleap-nn 0.3.5, and of SLEAP 1.4 and older."""
WORKER_FLAGS = frozenset({"cpu", "first_gpu", "last_gpu"})
"""Those of them that take no value on a command line."""


def find_worker_setting(key: str, value: str | None = None) -> WorkerSetting | None:
    """Return the setting in the table for a key, such as `trainer_config.zmq.publish_port`; None if it is in none.

    Args:
        value: the value that it is to get; None for any.
    """
    for setting in WORKER_SETTINGS:
        if key == setting.key or key.startswith(f"{setting.key}."):
            return None if setting.only and value is not None and value not in setting.only else setting
    return None


def left_out(key: str, value: str) -> str:
    """Return the sentence that says that a setting of the table has no effect, such as `trainer_devices=2`."""
    setting = find_worker_setting(key)
    what = "its settings" if setting is None else setting.what
    return f"{_shown(key.partition('.')[2], value)} is left out: the worker chooses {what}.{_advice(key, value)}"


def option_left_out(name: str, value: object) -> str:
    """Return the same sentence for an option of prediction, such as `device`."""
    shown = f"--{name.replace('_', '-')}" if name in WORKER_FLAGS else _shown(name, str(value))
    return f"{shown} is left out: the worker chooses {WORKER_OPTIONS[name]}."


def asks_for_much(key: str, value: str) -> bool:
    """Return whether a setting in a package asks for more than every configuration does, as for two GPUs."""
    setting = find_worker_setting(key)
    return setting is not None and bool(setting.usual) and value not in setting.usual


def notes_about(tree: Mapping[str, Any]) -> Iterator[str]:
    """Yield a sentence for each setting of a configuration with which it asks for certain hardware."""
    for setting in WORKER_SETTINGS:
        value = _as_text(get_setting(tree, setting.key))
        if setting.usual and value not in setting.usual:
            yield left_out(setting.key, value)


def without_worker_settings(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what the worker chooses; other values are left as they are."""
    result = dict(tree)
    for setting in WORKER_SETTINGS:
        if not setting.only or _as_text(get_setting(tree, setting.key)) in setting.only:
            result = without_setting(result, setting.key)
    return result


def _as_text(value: object) -> str:
    """Return a value as it stands in an override: `null`, `2`, `[0,1]`."""
    if isinstance(value, list):
        return f"[{','.join(map(_as_text, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _shown(name: str, value: str) -> str:
    text = printable(value)
    return f"{name}={text if len(text) <= VALUE_MAX else f'{text[: VALUE_MAX - 1]}…'}"


def _advice(key: str, value: str) -> str:
    """Return what to do instead for somebody who has asked for several GPUs; empty for others."""
    number = int(value) if key == DEVICES_KEY and value.isdecimal() and len(value) < 3 else 0
    number = value.count(",") + 1 if key in (DEVICES_KEY, INDICES_KEY) and "," in value else number
    return f" --gpus {number} asks for a worker that has as many." if number > 1 else ""
