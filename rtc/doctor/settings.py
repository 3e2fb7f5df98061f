"""Checks of the configuration (what was read, and from where), and of the folders in which settings and state are."""

import stat

import trio

from protocol.faults import Fault
from rtc.config.folders import Folders
from rtc.config.load import Config
from rtc.config.settings_watch import SettingsWatch
from rtc.config.show import describe_source
from rtc.config.take_over import folders_left
from rtc.doctor.finding import Finding, fail, ok, skip, warn
from rtc.doctor.folders import short_path

FIX = "Correct it there. docs/configuration.md and config.example.toml tell how each setting is written."


async def check_config(config: Config | Fault) -> Finding:
    """Report the configuration that was read, or why it could not be read."""
    return config_finding(config)


def config_finding(config: Config | Fault) -> Finding:
    """Return which environment and server are configured.

    It is a warning if others can read a file with passwords, or a file in the working folder has set the server.
    """
    if isinstance(config, Fault):
        return fail(config.text, FIX)
    server = config.signaling_websocket
    source = describe_source(config.sources.get("signaling_websocket", "default"))
    detail = f"environment {config.environment}; the server is {server} ({source})"
    if config.file is not None and any(s.credential for s in config.ice_servers):
        try:
            open_to_others = stat.S_IMODE(config.file.stat().st_mode) & 0o077
        except OSError:
            open_to_others = 0  # the file was deleted in the meantime, and its passwords with it
        if open_to_others:
            return warn(
                f"{detail}; {config.file.name} holds a password and others on this machine may read it",
                f"chmod 600 {config.file.name} in its folder",
            )
    if config.notice:
        return warn(f"{detail}, a file in this folder", "Fine if that file is yours. If not, work in another folder.")
    return ok(detail)


async def check_settings_folder(folders: Folders) -> Finding:
    """Check that the folder of settings and secrets has not vanished. Runs in a thread: a network drive may hang."""
    return await trio.to_thread.run_sync(settings_folder_finding, folders, abandon_on_cancel=True)


def settings_folder_finding(folders: Folders) -> Finding:
    """Return whether the folder of settings and secrets is there, if it ever was."""
    watch = SettingsWatch(folders)
    lost = watch.find_lost()
    if lost is not None:
        return warn(watch.describe(lost), watch.advise(lost))
    return ok(folders.settings_name) if folders.settings.exists() else skip("there are no settings and no secrets here")


async def check_old_folders(folders: Folders) -> Finding:
    """Check that nothing of an earlier version is left to be moved. Runs in a thread: a network drive may hang."""
    return await trio.to_thread.run_sync(old_folders_finding, folders, abandon_on_cancel=True)


def old_folders_finding(folders: Folders) -> Finding:
    """Return whether there is state of an earlier version that is not where it is kept now."""
    state = short_path(folders.state)
    if folders.old_state is None:
        return skip("everything is in one folder")
    left = folders_left(folders)
    if not left:
        return ok(f"all is in {state}")
    return warn(
        f"{', '.join(left)} of an earlier version: still in {folders.settings_name}, not in {state}",
        "The next start of the client, worker or server moves it, unless a job runs there; else it says what keeps it.",
    )
