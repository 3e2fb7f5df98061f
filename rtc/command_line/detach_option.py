"""The option `--detach` of the commands that start a job, and which options have no meaning with it.

`--help` imports this module, so it imports nothing that takes long.
"""

import click
from click.core import ParameterSource

detach_option = click.option(
    "--detach", is_flag=True, help="Leave as soon as the job runs; sleap-rtc attach comes back to it."
)
ABOUT_RUNNING_JOBS = {
    "on_interrupt": "--on-interrupt",
    "stop": "--stop",
    "controller_port": "--controller-port",
    "publish_port": "--publish-port",
    "max_result": "--max-result",
}
"""Options about a job that runs, and about its result: a client that leaves has no use for them, `attach` has them."""


def check_detach_option(*, detach: bool) -> None:
    """Raise a `UsageError` if an option was given whose effect would come after the client has left."""
    context = click.get_current_context()
    given = [
        option
        for name, option in ABOUT_RUNNING_JOBS.items()
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
    ]
    if detach and given:
        raise click.UsageError(
            f"--detach leaves when the job runs, so {', '.join(given)} would have no effect: "
            "give it to sleap-rtc attach."
        )
