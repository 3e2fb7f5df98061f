"""Write the settings of a training configuration as data: names, types and bounds, from sleap-nn's own classes.

    PYTHONPATH=rtc/sleap_nn/shim .venv/bin/python -P rtc/sleap_nn/export_schema.py rtc/packages/schemas

It writes `VERSION.json` into that folder. It is run by the Python of sleap-nn and never imported by ours;
`rtc.packages.config_schema` reads the file. A validator of attrs says its own bounds. What a function checks stands in
`CANDIDATES`; such a rule is written only if it agrees with sleap-nn on all of `SAMPLES`, else the setting has no rule.
"""

import json
import sys
import types
import typing
from pathlib import Path
from typing import Any

UNIT = [{"kinds": ["int", "float"], "min": 0, "max": 1}]
CONVNEXT = ["ConvNeXt_Base_Weights", "ConvNeXt_Tiny_Weights", "ConvNeXt_Small_Weights", "ConvNeXt_Large_Weights"]
CANDIDATES: dict[str, list[dict[str, Any]]] = {
    "validate_proportion": UNIT,
    "validate_fg_fraction": [{"kinds": ["int", "float"], "min": 0, "below": 1}],
    "validate_optional_positive_int": [{"kinds": ["none"]}, {"kinds": ["int"], "above": 0}],
    "validate_optional_nonneg_int": [{"kinds": ["none"]}, {"kinds": ["int"], "min": 0}],
    "validate_blend": [{"choices": ["gaussian", "pyramid", "constant"]}],
    "validate_accumulator_device": [{"choices": ["auto", "cpu", "cuda"]}],
    "validate_sampling": [{"choices": ["foreground", "grid"]}],
    "validate_test_file_path": [{"kinds": ["none", "str", "list of str"]}],
    "num_workers": [{"kinds": ["int"], "min": 0}, {"choices": ["auto"], "any_case": True}],
    "min_lr": [{"kinds": ["float", "list of float"], "min": 0}],
    "scale": [{"kinds": ["float", "list of float"], "min": 0}],
    "optimizer_name": [{"choices": ["Adam", "AdamW"]}],
    "trainer_devices": [{"kinds": ["none"]}, {"kinds": ["bool"]}, {"kinds": ["int"], "min": 0}, {"choices": ["auto"]}],
    "ConvNextConfig.pre_trained_weights": [{"kinds": ["none"]}, {"choices": CONVNEXT}],
    "SwinTConfig.pre_trained_weights": [
        {"kinds": ["none"]},
        {"choices": ["Swin_T_Weights", "Swin_S_Weights", "Swin_B_Weights"]},
    ],
    "SwinTConfig.model_type": [{"choices": ["tiny", "small", "base"]}],
}
"""What functions of sleap-nn 0.3.5 accept, by the name of the function, or of the setting that a lambda checks.

A value is accepted if one of the rules accepts it.
"""
OPTIONS = {
    "PositivesConfig.scope": "EMBEDDING_POSITIVE_SCOPES",
    "NegativesConfig.sources": "EMBEDDING_NEGATIVE_SOURCES",
    "LossConfig.name": "EMBEDDING_LOSSES",
    "SamplerConfig.kind": "EMBEDDING_SAMPLER_KINDS",
}
"""Settings whose choices are a constant of `sleap_nn.config.model_config`."""
SAMPLES: list[Any] = [
    *(None, True, False, -1, 0, 1, 2, 16, -0.5, 0.0, 0.25, 0.5, 1.0, 1.5, float("nan"), float("inf")),
    *("", "auto", "AUTO", "Auto", "x", "adam", [], [0.5], [1], [-0.5], ["x"], ["x", "y"], [1, "x"], {"a": 1}),
]
"""Values with which a rule is tried; the choices of the rule itself are tried too."""
MUST_BE_SET = ("model_config.backbone_config", "model_config.head_configs")
"""Sections in which sleap-nn wants one setting (`check_must_be_set`)."""
BOUNDS = {">": "above", ">=": "min", "<": "below", "<=": "max"}


def kinds_of(value: Any) -> list[str]:
    """Return the names in `kinds` that fit a value."""
    names = {bool: "bool", int: "int", float: "float", str: "str", type(None): "none", dict: "dict"}
    if isinstance(value, list):
        items = {type(item) for item in value}
        return [f"list of {name}" for kind, name in names.items() if items <= {kind}] + ["list"]
    return [names[type(value)]]


def accepts(rules: list[dict[str, Any]], value: Any) -> bool:
    """Return whether one of the rules accepts a value. `SettingType.accepts` does the same."""
    return any(_accepts(rule, value) for rule in rules)


def _accepts(rule: dict[str, Any], value: Any) -> bool:
    if "kinds" in rule and not set(rule["kinds"]) & set(kinds_of(value)):
        return False
    if "choices" in rule:
        values = value if rule.get("each") and isinstance(value, list) else [value]
        lower = [item.lower() if rule.get("any_case") and isinstance(item, str) else item for item in values]
        return all(isinstance(item, str) and item in rule["choices"] for item in lower)
    numbers = [item for item in (value if isinstance(value, list) else [value]) if isinstance(item, int | float)]
    compare = {"min": float.__ge__, "above": float.__gt__, "max": float.__le__, "below": float.__lt__}
    return all(compare[key](float(item), float(rule[key])) for key in compare if key in rule for item in numbers)


class Exporter:
    """Collects the classes of sleap-nn's configuration, each with its settings."""

    def __init__(self) -> None:
        self.sections: dict[str, Any] = {}

    def add(self, kind: type) -> str:
        """Add a class and those that it names; return its name."""
        import attrs

        name = kind.__name__
        if name in self.sections:
            return name
        section: dict[str, Any] = {"settings": {}}
        self.sections[name] = section
        if hasattr(kind, "which_oneof"):
            section["one_of"] = True
        hints = typing.get_type_hints(kind)
        for attribute in attrs.fields(kind):
            setting = self.setting(hints[attribute.name])
            rules = find_rules(kind, attribute, setting)
            section["settings"][attribute.name] = setting | ({"rules": rules} if rules else {})
        return name

    def setting(self, hint: Any) -> dict[str, Any]:
        """Return the data of a type: `kind`, whether it is `optional`, what is in a list or a section."""
        import attrs

        if typing.get_origin(hint) in (typing.Union, types.UnionType):
            inner = [kind for kind in typing.get_args(hint) if kind is not type(None)]
            if len(inner) == 1 and len(inner) < len(typing.get_args(hint)):
                return self.setting(inner[0]) | {"optional": True}
            return {"kind": "any"}
        if typing.get_origin(hint) is list:
            return {"kind": "list", "item": self.setting(typing.get_args(hint)[0])}
        if hint in (int, float, str, bool):
            return {"kind": hint.__name__}
        if hint is list:
            return {"kind": "list", "item": {"kind": "any"}}
        if hint is dict or typing.get_origin(hint) is dict:
            return {"kind": "dict"}
        if isinstance(hint, type) and attrs.has(hint):
            return {"kind": "section", "section": self.add(hint)}
        return {"kind": "any"}


def find_rules(kind: type, attribute: Any, setting: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the rules of a setting that agree with sleap-nn's own validator, or an empty list."""
    if attribute.validator is None:
        return []
    rules = native_rules(attribute.validator) or candidate_rules(kind, attribute)
    own = [choice for rule in rules for choice in rule.get("choices", ())]
    values = [*SAMPLES, *own, *([choice] for choice in own)]
    wrong = [
        value for value in values if possible(setting, value) and tried(kind, attribute, value) != accepts(rules, value)
    ]
    if not rules or wrong:
        sys.stderr.write(f"no rule for {kind.__name__}.{attribute.name} {wrong}\n")
        return []
    return rules


def possible(setting: dict[str, Any], value: Any) -> bool:
    """Return whether a value of this type can reach the validator: OmegaConf has converted it before."""
    if value is None:
        return bool(setting.get("optional")) or setting["kind"] == "any"
    kinds = {"int": int, "float": float, "str": str, "bool": bool, "list": list, "dict": dict, "any": object}
    if setting["kind"] == "list":
        return isinstance(value, list) and all(possible(setting["item"], item) for item in value)
    return setting["kind"] == "any" or type(value) is kinds.get(setting["kind"])


def tried(kind: type, attribute: Any, value: Any) -> bool:
    """Return whether sleap-nn takes the value; whatever its validator raises, it does not."""
    try:
        kind(**{attribute.name: value})
    except Exception:  # noqa: BLE001 - sleap-nn's own functions may raise anything
        return False
    return True


def native_rules(validator: Any) -> list[dict[str, Any]]:
    """Return the rules of a validator of attrs; empty if it is a function of sleap-nn's own."""
    kind = type(validator).__name__
    if kind == "_NumberValidator":
        return [{BOUNDS[validator.compare_op]: validator.bound}]
    if kind == "_InValidator":
        return [{"choices": list(validator.options)}]
    if kind == "_OptionalValidator":
        inner = native_rules(validator.validator)
        return [{"kinds": ["none"]}, *inner] if inner else []
    if kind == "_AndValidator":
        parts = [native_rules(part) for part in validator._validators]
        if all(len(part) == 1 for part in parts):
            return [{key: value for part in parts for key, value in part[0].items()}]
    return []


def candidate_rules(kind: type, attribute: Any) -> list[dict[str, Any]]:
    """Return the rules of `CANDIDATES` and `OPTIONS` for a setting that a function checks."""
    import sleap_nn.config.model_config as model_config

    for parent in kind.__mro__:
        name = f"{parent.__name__}.{attribute.name}"
        if name in OPTIONS:
            return [{"choices": list(getattr(model_config, OPTIONS[name])), "each": name == "NegativesConfig.sources"}]
        if name in CANDIDATES:
            return CANDIDATES[name]
    return CANDIDATES.get(attribute.validator.__name__) or CANDIDATES.get(attribute.name) or []


def dropped_keys() -> list[str]:
    """Return the settings of older versions that sleap-nn removes from a configuration before it checks it."""
    import sleap_nn.config.model_config as model_config

    leaf = getattr(model_config, "_EMBEDDING_LEAF", "")
    head = getattr(model_config, "REMOVED_EMBEDDING_HEAD_KEYS", ())
    negatives = getattr(model_config, "REMOVED_EMBEDDING_NEGATIVES_KEYS", ())
    return [*(f"{leaf}.{key}" for key in head), *(f"{leaf}.objective.negatives.{key}" for key in negatives)]


def main() -> None:
    """Write the data of the installed sleap-nn into a folder."""
    import sleap_nn
    from loguru import logger
    from sleap_nn.config.training_job_config import TrainingJobConfig

    logger.remove()  # sleap-nn's validators log every value that they refuse
    exporter = Exporter()
    root = exporter.add(TrainingJobConfig)
    data = {"version": sleap_nn.__version__, "root": root, "dropped": dropped_keys(), "must_be_set": list(MUST_BE_SET)}
    sections = ",\n".join(f"{json.dumps(name)}: {section_text(exporter.sections[name])}" for name in exporter.sections)
    text = f'{json.dumps(data)[:-1]}, "sections": {{\n{sections}\n}}}}\n'
    (Path(sys.argv[1]) / f"{sleap_nn.__version__}.json").write_text(text, encoding="utf-8")


def section_text(section: dict[str, Any]) -> str:
    """Return a section as JSON with one setting in each line."""
    lines = (f"  {json.dumps(name)}: {json.dumps(setting)}" for name, setting in section["settings"].items())
    settings = ",\n".join(lines)
    return f'{{"one_of": {json.dumps("one_of" in section)}, "settings": {{\n{settings}\n}}}}'


if __name__ == "__main__":
    main()
