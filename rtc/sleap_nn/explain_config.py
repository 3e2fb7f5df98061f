"""Print which pipeline sleap-nn recommends for labels, and why, as one line of JSON; by sleap-nn's own function.

    python explain_config.py LABELS

`sleap-nn config --auto` follows the recommendation, but does not print it (sleap-nn 0.3.5). It is run by the Python of
sleap-nn and never imported by ours.
"""

import json
import sys


def main() -> None:
    """Print the recommendation for one file. An exception of sleap-nn ends the program with status 1."""
    from sleap_nn.config_generator.generator import ConfigGenerator

    pipeline = ConfigGenerator.from_slp(sys.argv[1]).recommend().pipeline
    print(json.dumps({"pipeline": str(pipeline.recommended), "reason": str(pipeline.reason)}))


if __name__ == "__main__":
    main()
