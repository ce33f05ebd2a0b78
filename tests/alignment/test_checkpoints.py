"""Sealed checkpoints: whole, or not used."""

import json

import pytest

from alignment.training.checkpoints import SEAL, counters, cut_metrics, newest_complete, problem, rotate, seal

FILES = {
    "adapter_model.safetensors": b"weights",
    "optimizer.pt": b"moments",
    "rng_state.pth": b"rng",
    "scheduler.pt": b"rate",
    "trainer_state.json": b"{}",
    "ref/adapter_model.safetensors": b"reference",
}


def make(folder, step, sealed=True):
    path = folder / f"checkpoint-{step}"
    for name, data in FILES.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)
    (path / "training_args.bin").write_bytes(b"pickle with a token")
    if sealed:
        seal(path, {"tokens": 10 * step})
    return path


def test_a_sealed_checkpoint_is_whole_and_keeps_its_counters(tmp_path):
    path = make(tmp_path, 3)
    assert problem(path) == ""
    assert counters(path) == {"tokens": 30}
    assert not (path / "training_args.bin").exists()


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["missing", "truncated", "flipped"])
def test_any_damage_to_any_file_is_seen_and_the_one_before_is_taken(tmp_path, name, damage):
    before, path = make(tmp_path, 2), make(tmp_path, 4)
    file = path / name
    data = file.read_bytes()
    if damage == "missing":
        file.unlink()
    else:
        file.write_bytes(data[:-1] if damage == "truncated" else bytes([data[0] ^ 1]) + data[1:])
    found, notes = newest_complete(tmp_path)
    assert found == before
    assert len(notes) == 1 and "checkpoint-4" in notes[0] and name in notes[0]
    assert not path.exists()  # nothing can ever be written into it or resumed from it


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"files": 3}'])
def test_a_broken_or_missing_seal_is_no_checkpoint(tmp_path, text):
    path = make(tmp_path, 1)
    (path / SEAL).unlink() if text is None else (path / SEAL).write_text(text)
    assert problem(path)
    assert newest_complete(tmp_path)[0] is None


def test_a_file_that_was_added_is_seen(tmp_path):
    path = make(tmp_path, 1)
    (path / "pytorch_model.bin").write_bytes(b"x")
    assert "does not belong" in problem(path)


def test_rotation_keeps_the_newest_and_clears_the_unusable(tmp_path):
    for step in (2, 4, 10):
        make(tmp_path, step)
    make(tmp_path, 12, sealed=False)
    newest_complete(tmp_path)
    make(tmp_path, 14)
    rotate(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["checkpoint-10", "checkpoint-14"]


def test_metrics_are_cut_back_to_a_step_and_a_torn_line_goes(tmp_path):
    file = tmp_path / "metrics.jsonl"
    lines = [json.dumps({"step": step, "loss": step / 10}) for step in (1, 2, 3, 4)]
    file.write_text("\n".join(lines) + '\n{"step": 5, "lo')
    cut_metrics(file, 3)
    assert [json.loads(line)["step"] for line in file.read_text().splitlines()] == [1, 2, 3]
    cut_metrics(tmp_path / "none.jsonl", 3)


def test_one_is_kept_while_training_even_where_none_is_kept_in_the_end(tmp_path):
    make(tmp_path, 1)
    newest = make(tmp_path, 2)
    rotate(tmp_path, 0)
    assert list(tmp_path.iterdir()) == [newest]
