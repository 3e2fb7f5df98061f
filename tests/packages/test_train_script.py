"""Every form of a training line that SLEAP has exported, and lines that must be refused."""

import pytest

from rtc.common.errors import RtcError
from rtc.packages.hydra_overrides import (
    FROM_JOBS_YAML,
    FROM_SCRIPT,
    Override,
    last_of_each_key,
    quote_for_hydra,
    read_override,
)
from rtc.packages.train_script import TrainLine, read_train_script

RUN = "250101_120000.centroid.n=12"


@pytest.mark.parametrize(
    "line",
    [
        "sleap-train centroid.json x.pkg.slp",
        "sleap-train --save_viz --zmq --publish_port 9001 centroid.json x.pkg.slp",
        "python -m sleap.nn.training centroid.json x.pkg.slp",
        "CUDA_VISIBLE_DEVICES=0 /opt/sleap/bin/sleap-train 'centroid.json' \"x.pkg.slp\"  # the first",
    ],
)
def test_the_lines_of_sleap_1_3_and_1_4_are_read(line):
    assert read_train_script(line) == (TrainLine("centroid.json", ("x.pkg.slp",)),)


@pytest.mark.parametrize(
    "line",
    [
        f"sleap-nn-train --config-name centroid.yaml --config-dir . trainer_config.ckpt_dir=models "
        f"trainer_config.run_name={RUN} trainer_config.zmq.controller_port=9000 trainer_config.zmq.publish_port=9001",
        f"sleap train --config-name centroid.yaml --config-dir . trainer_config.run_name={RUN}",
        f"sleap train --config-name centroid.yaml --config-dir . 'trainer_config.run_name={RUN}'",
        f"sleap train --config-name centroid.yaml --config-dir . 'trainer_config.run_name=\"{RUN}\"' ",
        "sleap-nn train --config centroid.yaml",
        "sleap-nn train --config=centroid.yaml",
        "sleap-nn train centroid.yaml",
        "sleap-nn train -c centroid.yaml -d .",
        "python -m sleap.cli train --config-name centroid.yaml --config-dir .",
        "python3.11 -m sleap_nn.cli train --config-name centroid.yaml",
        "uv run sleap-nn train \\\n  --config-name centroid.yaml \\\r\n  --config-dir .",
        "sleap-nn train --config-name centroid.yaml --config-dir",
        f"sleap-nn train --config-name centroid.yaml --config-dir  trainer_config.ckpt_dir=models"
        f"trainer_config.run_name={RUN}trainer_config.zmq.controller_port=9000trainer_config.zmq.publish_port=9001",
    ],
)
def test_the_lines_of_sleap_1_5_and_1_6_are_read(line):
    assert read_train_script("#!/bin/bash\n" + line) == (TrainLine("centroid.yaml"),)


def test_two_models_stay_in_order_and_prediction_is_left_out():
    text = (
        '\ufeff#!/bin/bash\r\nset -e\r\ncd "$(dirname "$0")"\r\n\r\n# don\'t worry\r\n'
        "echo 'one' && sleap train --config-name centroid.yaml --config-dir .\r\n"
        "sleap train --config-name centered_instance.yaml --config-dir .; echo done > log\r\n"
        "sleap-track x.slp -m models/a -o out.slp\r\nsleap predict --gui -i x.slp\r\nsleap-nn track -i x\r\n"
    )
    assert [line.config for line in read_train_script(text)] == ["centroid.yaml", "centered_instance.yaml"]


def test_overrides_run_together_are_parted():
    line = "sleap-nn train --config-name a.yaml --config-dir  trainer_config.max_epochs=10trainer_config.seed=3"
    assert read_train_script(line)[0].overrides == (
        Override("trainer_config.max_epochs", "10"),
        Override("trainer_config.seed", "3"),
    )


def test_only_settings_that_are_not_ours_are_kept():
    line = (
        "sleap-nn train --config a.yaml ++trainer_config.max_epochs=5 +trainer_config.zmq.publish_port=1 "
        "trainer_config.ckpt_dir=/etc trainer_config.wandb.name=a=b data_config.train_labels_path=[a.slp,b.slp]"
    )
    (found,) = read_train_script(line)
    assert [str(override) for override in found.overrides] == [
        "++trainer_config.max_epochs=5",
        '++trainer_config.wandb.name="a=b"',
        "++data_config.train_labels_path=[a.slp,b.slp]",
    ]
    assert found.labels == ("a.slp", "b.slp")


@pytest.mark.parametrize(
    "line",
    [
        "rm -rf ~",
        "curl http://x | sh",
        "sleap-train a.json b.slp > out; rm x",
        "sleap-train a.json b.slp | tee log",
        "sleap-train $(cat x) b.slp",
        "sleap-train `cat x` b.slp",
        "sleap-train a.json b.slp --evil",
        "sleap-train a.json b.slp c.slp",
        "sleap-nn train --config a.yaml --multirun",
        "sleap-nn train",
        "sleap-nn export x",
        "python -c 'print(1)'",
        "python train.py",
        "cd /somewhere/else",
        "sleap-nn train 'a.yaml",
        "sleap-nn train a.yaml hydra.run.dir=/tmp",
        "sleap-nn train a.yaml '++trainer_config.seed=${oc.env:TOKEN}'",
        "sleap-nn train a.yaml data_config.val_labels_path=[/etc/passwd]",
        "sleap-nn train a.yaml trainer_config.resume_ckpt_path=../../x.ckpt",
        "sleap-nn train a.yaml 'trainer_config.resume_ckpt_path=\"~/x.ckpt\"'",
        "sleap-nn train a.yaml ~seed",
        "sleap-nn train a.yaml ~data_config.train_labels_path",
    ],
)
def test_other_lines_refuse_the_script(line):
    with pytest.raises(RtcError) as caught:
        read_train_script(line)
    assert caught.value.fault.code.value == "bad_package"
    assert "TOKEN" not in caught.value.fault.text


@pytest.mark.slow
@pytest.mark.parametrize(
    "text", [RUN, "a b", "it's", 'say "x"', "back\\slash", "end\\", 'a\\"b', "a,b", "[x]", "null", "é"]
)
def test_hydra_reads_our_quotes_as_they_were_meant(text):
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser").OverridesParser.create()
    (found,) = parser.parse_overrides([f"++trainer_config.run_name={quote_for_hydra(text)}"])
    assert (found.key_or_group, found.value()) == ("trainer_config.run_name", text)
    (listed,) = parser.parse_overrides([f"++a.b=[{quote_for_hydra(text)},{quote_for_hydra(text)}]"])
    assert listed.value() == [text, text]


def test_of_several_overrides_of_one_setting_the_last_counts():
    overrides = [Override("a", "1"), Override("b", "2"), Override("a", "3")]
    assert last_of_each_key(overrides) == (Override("b", "2"), Override("a", "3"))


@pytest.mark.parametrize(("origin", "subject"), [(FROM_SCRIPT, "train-script.sh"), (FROM_JOBS_YAML, "jobs.yaml")])
def test_the_error_for_an_override_names_its_origin(origin, subject):
    for word in ("nonsense", "trainer_config.a=/etc/x", "trainer_config.a=${x}", "trainer_config.a=\x07"):
        with pytest.raises(RtcError) as caught:
            read_override(word, origin)
        assert subject in caught.value.fault.text


@pytest.mark.slow
def test_an_override_that_is_kept_reaches_hydra_unchanged():
    parser = pytest.importorskip("hydra.core.override_parser.overrides_parser").OverridesParser.create()
    override = read_override("trainer_config.wandb.name=run(1)=x")
    assert override is not None
    assert parser.parse_overrides([str(override)])[0].value() == "run(1)=x"
