"""Run by sleap-nn's own Python, never imported: `python convert_legacy.py IN.json OUT.yaml`.

Turns a training configuration of SLEAP ≤ 1.4 into sleap-nn's YAML, by sleap-nn's own rules.
"""

import json
import sys


def main() -> None:
    """Convert; a configuration sleap-nn cannot map ends in its own traceback and status 1."""
    from omegaconf import OmegaConf
    from sleap_nn.config.training_job_config import TrainingJobConfig

    source, target = sys.argv[1:3]
    with open(source, encoding="utf-8-sig") as file:
        legacy = json.load(file)
    # SLEAP drew pictures of each epoch for a window that nobody here looks at
    legacy.setdefault("outputs", {})["save_visualizations"] = False
    OmegaConf.save(TrainingJobConfig.load_sleap_config_from_json(legacy), target)


if __name__ == "__main__":
    main()
