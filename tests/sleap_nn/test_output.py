"""job.log and what a client sees of it hold neither secrets nor anything that a terminal would interpret."""

import json
import os
from urllib.parse import quote

import pytest
import trio

from protocol.fields import is_printable
from rtc.sleap_nn import output
from rtc.sleap_nn.output import JobLog, clean_line
from rtc.sleap_nn.secret_mask import VALUES_MAX, mask, values_pattern

WANDB = "0123456789abcdef0123456789abcdef01234567"
HF = "hf_" + "aBcD1234" * 4


@pytest.fixture
def log(tmp_path):
    """A job's log; `emitted` are the lines that a client gets."""
    emitted = []
    log = JobLog("job", tmp_path / "job.log", lambda news: emitted.extend(news.lines))
    log.emitted = emitted
    log.path = tmp_path / "job.log"
    return log


async def read(log, *blocks):
    sender, receiver = trio.testing.memory_stream_one_way_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(log.read_output, receiver)
        for block in blocks:
            await sender.send_all(block)
            await trio.testing.wait_all_tasks_blocked()
        await sender.aclose()
    log.close()
    return log.path.read_bytes().decode()


async def test_what_is_saved_can_only_be_shown(log):
    raw = b"\x1b[31mred\x1b[0m\x1b]0;title\x07 \x9b31m\xe2\x80\xae \x00 \xff tab\there\x08\n"
    saved = await read(log, raw)
    assert all(is_printable(line) for line in saved.splitlines())
    assert saved.splitlines() == log.emitted
    assert "red" in saved
    assert "title" not in saved


@pytest.mark.parametrize(
    ("blocks", "saved"),
    [
        ([b"10%\r50%\r100%\nend\n"], "100%\nend\n"),
        ([b"\r10%", b"\r50%", b"\r100%", b"\n"], "100%\n"),
        ([b"one\r", b"\ntwo\r\n"], "one\ntwo\n"),
        ([b"10%\r50%\r"], "50%\n"),
        ([b"10%\r", b"rest"], "rest\n"),
        ([b"\n\na"], "a\n"),
    ],
)
async def test_of_a_progress_bar_the_last_version_is_saved(log, blocks, saved):
    assert await read(log, *blocks) == saved


@pytest.mark.parametrize(
    "line",
    [
        f"wandb: key {WANDB}",
        f"WANDB_API_KEY={WANDB}",
        f"    api_key: {WANDB.upper()}",
        "wandb_v1_" + "aB3_" * 20,
        f"login with {HF}.",
        "HF_TOKEN='some-token-of-mine'",
        '"api_key": "short-key",',
        "trainer_config.wandb.api_key=short-key",
        "++trainer_config.wandb.api_key=short-key",
        "Authorization: Bearer abcdefghijkl",
        "https://user:short-key@example.org/x",
        "password = short-key",
        "ghp_" + "a1B2" * 9,
        "AKIA" + "ABCD1234" * 2,
        "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abcdefg",
        '{"api_key":"short, key; of mine"}',
        "'password': 'it is short-key'",
        "api_key:            short-key",
        "api_key => short-key",
        "api_key: !!str short-key",
        "API key: short-key",
        "passphrase: short-key",
        "train --wandb-api-key short-key",
        "machine api.wandb.ai login user password short-key",
        "Authorization: Basic abcdefghijkl",
        "https://user:of-me@example.org/x",
        "glpat-" + "a1B2" * 5,
        "xoxb-" + "a1B2" * 5,
        "AIza" + "a1B2" * 9,
        "sk_live_" + "a1B2" * 6,
        f"\x1b[1mapi_\x1b[0mkey\x1b[0m: {WANDB[:20]}\x1b[31m{WANDB[20:]}",
    ],
)
async def test_a_secret_of_a_known_form_is_neither_saved_nor_sent(log, line):
    log.add_line(line)
    saved = await read(log, line.encode() + b"\n")
    for text in (saved, *log.emitted, *log.last_lines):
        assert "[hidden]" in text
        for part in (
            WANDB,
            WANDB.upper(),
            HF,
            "short-key",
            "of mine",
            "of-me",
            "some-token",
            "abcdefghijkl",
            "a1B2a1B2",
            "aB3_aB3_",
            "AKIAABCD",
        ):
            assert part not in text


@pytest.mark.parametrize(
    "line",
    [
        "2026-11-23 16:30:54 | epoch 3/100, train/loss 0.0123, val/loss 0.0456",
        "    token_stride: null",
        "    api_key: null",
        "    api_key: ''",
        "    features: keypoints",
        "sha256 " + "ab" * 32,
        "skeletons: [{nodes: [head, thorax]}]",
        "https://nn.sleap.ai/config/",
        "use --token-file FILE or a password: the docs say how",
        "--keep_tokens 3 of 12 pages",
        "http://localhost:8080/a@b",
        "models/261123_170540.centroid.n=12/best.ckpt",
    ],
)
def test_an_ordinary_line_stays_as_it_is(line):
    assert mask(line) == line
    assert clean_line(line.encode()) == line


async def test_values_of_the_configuration_are_hidden_wherever_they_are(log):
    log.hide(["my lab's key!", "longer my lab's key!"])
    assert await read(log, b"x my lab's key! y longer my lab's key! z\n") == "x [hidden] y [hidden] z\n"
    assert log.emitted == ["x [hidden] y [hidden] z"]


async def test_a_value_is_hidden_in_every_form_in_which_a_program_prints_it(log):
    log.hide(['a "quoted" k\u00e9y/+', "-----BEGIN KEY-----\nMIIEvQIBADAN\nBgkqhkiG9w0B\n", "x" * 3000, "abcdefgh&="])
    lines = [
        'a "quoted" k\u00e9y/+',
        'a \\"quoted\\" k\u00e9y/+',
        'a \\"quoted\\" k\\u00e9y/+',
        "a%20%22quoted%22%20k%C3%A9y%2F%2B",
        "  MIIEvQIBADAN",
        "BgkqhkiG9w0B",
        "x" * 3000,
        "abcdefgh%26%3D",
    ]
    saved = await read(log, "\n".join(lines).encode() + b"\n")
    assert [line.strip() for line in saved.splitlines()] == ["[hidden]"] * len(lines)


def test_so_many_values_are_looked_for_at_most():
    pattern = values_pattern(f"value-{number}" for number in range(10_000))
    assert pattern.pattern.count("|") == VALUES_MAX - 1
    assert values_pattern(["", ""]) is None


@pytest.mark.parametrize("secret", [b"key-\xff\xfe-of-mine", b"key-\t-of-mine", b"key-\xc3\xa9-of-mine"])
async def test_a_secret_of_any_bytes_is_hidden_in_every_spelling(log, secret):
    value = os.fsdecode(secret)
    log.hide([value])
    spellings = (secret, json.dumps(value).encode(), repr(value).encode(), quote(secret).encode())
    saved = await read(log, b"\n".join(spellings) + b"\n")
    assert "of-mine" not in saved
    assert saved.count("[hidden]") == len(spellings)


async def test_a_value_that_no_program_can_print_is_no_error(log):
    log.hide(["lone-\ud800-surrogate"])
    assert "lone" not in await read(log, rb"lone-\ud800-surrogate" + b"\n")


async def test_what_we_say_ourselves_is_not_the_last_that_the_program_printed(log):
    await read(log, b"waiting for the loader\n")
    log.add_line("sleap-nn has said nothing for 10 minutes.")
    assert list(log.last_lines) == ["waiting for the loader"]
    log.flush()
    assert log.emitted[-1] == "sleap-nn has said nothing for 10 minutes."


async def test_a_long_line_of_secrets_is_cut_and_takes_no_long_time(log):
    saved = await read(log, b"api_key" * 20_000 + b"\n", b"://" * 40_000 + b"\n", b"\x1b[" * 50_000, b"token: " * 9000)
    assert max(map(len, saved.splitlines())) <= output.BLOCK


async def test_a_file_of_the_package_is_no_beginning_of_the_log(tmp_path):
    (tmp_path / "job.log").write_bytes(b"\x1b[31mred")
    log = JobLog("job", tmp_path / "job.log", lambda _news: None)
    log.add_line("one")
    log.close()
    assert (tmp_path / "job.log").read_text() == "one\n"
    assert (tmp_path / "job.log").stat().st_mode & 0o777 == 0o600
