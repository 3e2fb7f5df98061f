"""Convert a training configuration of SLEAP ≤ 1.4 (JSON) into one of sleap-nn (YAML), by sleap-nn's own function.

    python convert_legacy.py IN.json OUT.yaml

It is run by the Python of sleap-nn and never imported by ours.
"""

import json
import sys


def main() -> None:
    """Convert one file. When sleap-nn cannot map the configuration, its exception ends the program with status 1."""
    from omegaconf import OmegaConf
    from sleap_nn.config.training_job_config import TrainingJobConfig

    source, target = sys.argv[1:3]
    with open(source, encoding="utf-8-sig") as file:
        legacy = json.load(file)
    # SLEAP's `save_visualizations` writes images of each epoch for SLEAP's own window, which a worker does not have
    legacy.setdefault("outputs", {})["save_visualizations"] = False
    OmegaConf.save(TrainingJobConfig.load_sleap_config_from_json(legacy), target)


if __name__ == "__main__":
    main()
