"""A reward run's own held-out pairs: found again, halved, and missed aloud."""

import shutil

from alignment.models import load_scorer
from alignment.ppo.pairs import halves, held_out_pairs, rendered
from alignment.sources import resolve
from data_recipes.readers import read
from data_recipes.split import by_prompt
from tests.alignment.chains import StoppingUi


def test_they_are_the_pairs_that_the_run_never_trained_on(chain):
    pairs, why = held_out_pairs(resolve(chain["reward_run"]))
    _, expected = by_prompt(read(str(chain["reward"]), "comparisons").records, 0.3, 42)
    assert not why and [p.prompt for p in pairs] == [p.prompt for p in expected] and len(pairs) > 3


def test_their_halves_are_two_sides_of_like_size_with_no_prompt_on_both(chain):
    records = read(str(chain["reward"]), "comparisons").records
    for seed in (0, 42):
        _, held = by_prompt(records, 0.5, seed)  # by the very draw that halves must not repeat
        scale, watched = halves(held, seed)
        assert min(len(scale), len(watched)) >= len(held) // 5
        assert not {pair.prompt[0].content for pair in scale} & {pair.prompt[0].content for pair in watched}
    assert halves([], 0) == ([], [])


def test_data_that_are_gone_or_were_changed_are_said(chain, tmp_path):
    moved = tmp_path / "runs" / "reward"
    shutil.copytree(chain["reward_run"], moved)
    pairs, why = held_out_pairs(resolve(moved))
    assert not pairs and "not there any more" in why
    shutil.copy(chain["reward"], tmp_path / "runs" / "pairs.jsonl")
    with (tmp_path / "runs" / "pairs.jsonl").open("a") as out:
        out.write("\n")
    assert "was changed" in held_out_pairs(resolve(moved))[1]
    assert held_out_pairs(None)[1] and held_out_pairs(resolve(chain["sft_run"].parent / "base"))[1]


def test_pairs_about_prompts_that_are_trained_on_are_told(chain):
    pairs, _ = held_out_pairs(resolve(chain["reward_run"]))
    loaded, ui = load_scorer(str(chain["reward_run"])), StoppingUi()
    renderer = loaded.renderer(max_length=None)
    rows = rendered(pairs, set(), renderer, ui)
    assert len(rows) == len(pairs) and not hasattr(ui, "warnings")
    rendered(pairs, {tuple(rows[0][0])}, renderer, ui)
    assert f"1 of {len(rows)} watched pairs are about prompts" in ui.warnings[0]
