"""What a PPO run said to the same prompts, from evaluation to evaluation."""

from alignment.evaluate.progress import over_time
from data_recipes.files import write_jsonl


def row(step, prompt, answer, **more):
    asked = [{"role": "user", "content": prompt}]
    return {"step": step, "prompt": asked, "answer": answer, "stopped": True, "proxy": 0.5, **more}


def test_the_first_the_last_and_some_between_of_the_first_prompts(tmp_path):
    file = tmp_path / "completions.jsonl"
    write_jsonl(file, [row(step, prompt, f"{prompt} at {step}") for step in range(0, 90, 10) for prompt in ("a", "b", "c")])
    made = over_time(file)
    assert [sample["prompt"][0]["content"] for sample in made] == ["a", "b"]
    assert [side["name"] for side in made[1]["sides"]] == ["step 0", "step 20", "step 40", "step 60", "step 80"]
    assert made[1]["sides"][-1]["text"] == "b at 80"


def test_what_an_answer_was_given_stands_below_it(tmp_path):
    file = tmp_path / "completions.jsonl"
    write_jsonl(file, [row(0, "a", "x", gold=-1.0, stopped=False)])
    side, = over_time(file)[0]["sides"]
    assert side == {"name": "step 0", "text": "x", "note": "proxy 0.50, gold -1.00, ran into the limit"}


def test_a_run_that_kept_none_shows_none(tmp_path):
    assert over_time(tmp_path / "completions.jsonl") == []
