"""Every file under configs/ loads for its stage, and presets are found from any folder."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import yaml

from alignment.config import STAGES, load
from alignment.config.presets import presets
from data_recipes.errors import Refused

ROOT = Path(__file__).parents[2]
STAGE_FILES = [file for stage in STAGES for file in sorted((ROOT / "configs" / stage).glob("*.yaml"))]
LAUNCHES = sorted((ROOT / "configs" / "accelerate").glob("*.yaml"))


@pytest.mark.parametrize("file", STAGE_FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_preset_loads_for_its_stage(file):
    config = load(file.parent.name, file)
    assert config.stage == file.parent.name
    assert file.stem == "quickstart" or not config.model.path  # the model is the user's choice


def test_every_file_under_configs_is_tested_by_some_test():
    elsewhere = {*(ROOT / "configs" / "pipelines").glob("*.sh"), *(ROOT / "configs" / "recipes").glob("*.yaml")}
    known = {*STAGE_FILES, *LAUNCHES, *elsewhere}
    assert {file for file in (ROOT / "configs").rglob("*") if file.is_file()} == known


@pytest.mark.parametrize("stage", STAGES)
def test_the_common_sizes_are_covered(stage):
    names = " ".join(presets(stage))
    sizes = ("110m", "350m", "7-8b") if stage == "classify" else ("0.5b", "1-3b", "7-8b", "70b")
    assert all(size in names for size in sizes) and "full" in names


@pytest.mark.parametrize("file", STAGE_FILES, ids=lambda file: f"{file.parent.name}/{file.stem}")
def test_a_preset_names_where_its_learning_rate_comes_from(file):
    line = next((line for line in file.read_text().splitlines() if "learning_rate:" in line), "#")
    assert "#" in line or file.stem == "quickstart"


def test_a_preset_is_found_from_any_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load("sft", "configs/sft/lora-0.5b-8gb.yaml").given("training.batch_size")
    assert load("sft", "sft/lora-0.5b-8gb.yaml").given("training.batch_size")


def test_a_file_here_comes_before_a_preset(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sft").mkdir()
    (tmp_path / "sft" / "lora-0.5b-8gb.yaml").write_text("training: {seed: 9}\n")
    assert load("sft", "sft/lora-0.5b-8gb.yaml").training.seed == 9


def test_a_preset_that_is_not_there_gets_the_nearest_name():
    with pytest.raises(Refused, match="Did you mean configs/sft/lora-0.5b-8gb.yaml"):
        load("sft", "configs/sft/lora-0.5b-8g.yaml")


@pytest.mark.parametrize("file", LAUNCHES, ids=lambda file: file.stem)
def test_accelerate_reads_its_launch_files(file):
    from accelerate.commands.config.config_args import load_config_from_file

    made = load_config_from_file(str(file))
    assert made.num_processes >= 2
    assert file.stem != "ddp" or (made.use_cpu and made.distributed_type == "MULTI_GPU")


@pytest.mark.parametrize("file", [file for file in LAUNCHES if yaml.safe_load(file.read_text())["num_processes"] > 2],
                         ids=lambda file: file.stem)
def test_launches_that_were_not_run_say_so(file):
    assert "EXPERIMENTAL" in file.read_text()


@pytest.mark.parametrize("script", sorted((ROOT / "configs" / "pipelines").glob("*.sh")), ids=lambda file: file.stem)
def test_the_pipelines_are_sound_shell(script):
    assert os.access(script, os.X_OK)
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0
