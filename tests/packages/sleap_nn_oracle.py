"""Says which configurations sleap-nn itself takes: run by the Python of sleap-nn, with its own verification.

It reads JSON lines from its input, each a configuration or `[configuration, override, …]`, and prints one line for
each: `1` if sleap-nn takes it, else `0`.
"""

import json
import sys

from hydra import compose, initialize_config_dir
from loguru import logger
from omegaconf import OmegaConf
from sleap_nn.config.training_job_config import verify_training_cfg


def taken(case):
    tree, overrides = (case[0], case[1:]) if isinstance(case, list) else (case, [])
    try:
        cfg = OmegaConf.create(tree)
        if overrides:
            OmegaConf.save(cfg, f"{sys.argv[1]}/case.yaml")
            with initialize_config_dir(config_dir=sys.argv[1], version_base=None):
                cfg = compose(config_name="case", overrides=overrides)
        verify_training_cfg(cfg)
    except Exception:  # noqa: BLE001 - Hydra's, OmegaConf's and sleap-nn's own
        return False
    return True


logger.remove()
for line in sys.stdin:
    print(int(taken(json.loads(line))), flush=True)
