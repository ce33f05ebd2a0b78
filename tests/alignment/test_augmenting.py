"""`align data augment` as a user gives it: models, endpoints, recordings, budgets, kills."""

import json
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from alignment.cli import run
from data_recipes.files import write_jsonl
from data_recipes.readers import read
from tests.data_recipes.augment.stand_ins import serving

ROOT = Path(__file__).parents[2]
TEXTS = ("Where is my hat now?", "When does the blue lamp ship?", "May I send the drum back?", "Is order 17 on its way?")


@pytest.fixture
def seeds(tmp_path):
    write_jsonl(tmp_path / "seeds.jsonl", [{"prompt": text, "topic": "orders"} for text in TEXTS])
    return tmp_path / "seeds.jsonl"


def helpful(body: dict) -> str:
    """An endpoint that does what the recipes ask for."""
    text = body["messages"][-1]["content"]
    if "Rewrite the message" in text:
        return f"Please tell me something else: {text.rpartition('Message:')[2].strip()[:-1].lower()}, if you can?"
    return "yes" if "exactly the same thing" in text else f"Answer {body['seed'] % 1000}"


def augment(*arguments, seeds, output, generator) -> int:
    return run(["data", "augment", *arguments, "--data", str(seeds), "--generator", generator, "--output", str(output)])


def rows(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_recipe_over_an_endpoint_and_its_replay_give_the_same_bytes(seeds, tmp_path, capsys):
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    options = ("paraphrase", "--set", "most_alike=0.95", "--json")
    with serving(helpful) as (url, server):
        assert augment(*options, seeds=seeds, output=first, generator=url) == 0
        account = json.loads(capsys.readouterr().out)["account"]
        asked = len(server.seen)
        assert augment(*options, seeds=seeds, output=first, generator=url) == 0
        assert json.loads(capsys.readouterr().out)["state"] == "already-completed" and len(server.seen) == asked
    assert account["questions"]["answered_now"] == asked and account["rows"]["kept"] == len(rows(first)) == 4
    assert account["rows"]["candidates"] == account["rows"]["kept"] + sum(account["rows"]["refused"].values())
    assert len(rows(Path(f"{first}.refused.jsonl"))) == sum(account["rows"]["refused"].values())
    assert augment(*options, seeds=seeds, output=second, generator=f"replay:{first}.requests.jsonl") == 0
    assert first.read_bytes() == second.read_bytes()
    assert Path(f"{first}.requests.jsonl").read_text().count("\n") == asked
    made = read(str(first), "prompts")
    assert made.ledger.refused == 0 and made.records[0].extra["synthetic"]["generator"]["model"] == "tiny"


def test_the_dry_run_bounds_what_is_asked_and_asks_nothing(seeds, tmp_path, capsys):
    output = tmp_path / "a.jsonl"
    with serving(helpful) as (url, server):
        assert augment("paraphrase", "--dry-run", "--json", "--price", "1,2", seeds=seeds, output=output, generator=url) == 0
        planned = json.loads(capsys.readouterr().out)["plan"]
        assert not server.seen and not list(tmp_path.glob("a.jsonl*"))
        assert augment("paraphrase", "--json", "--price", "1,2", seeds=seeds, output=output, generator=url) == 0
    asked = json.loads(capsys.readouterr().out)["account"]["questions"]
    assert asked["asked"] <= planned["requests"] == 24 and 0 < asked["cost"] < planned["cost"]


def test_a_budget_stops_the_work_and_a_higher_one_goes_on(seeds, tmp_path, capsys):
    output = tmp_path / "a.jsonl"
    options = ("best-of-n", "--reward", "reward.rules:format_matches(pattern='.*[13579]')", "--max-new-tokens", "9", "--json")
    with serving(helpful) as (url, server):
        assert augment(*options, "--max-tokens", "120", seeds=seeds, output=output, generator=url) == 1
        error = json.loads(capsys.readouterr().out)["error"]
        assert "budget is used up" in error["what"] and 0 < len(server.seen) < 16 and not output.exists()
        assert augment(*options, seeds=seeds, output=output, generator=url) == 0
    assert len(server.seen) == 16


def test_lost_questions_stop_the_end_and_are_asked_again_alone(seeds, tmp_path, capsys):
    output, state = tmp_path / "a.jsonl", {"well": False}

    def reply(body):
        text = body["messages"][-1]["content"]
        return (500, "no") if "drum" in text and not state["well"] else f"{text} " + "word " * (body["seed"] % 17)

    options = ("best-of-n", "--reward", "reward.rules:length_band(low=9, high=9)", "--retries", "0", "--set", "n=2", "--json")
    with serving(reply) as (url, server):
        assert augment(*options, seeds=seeds, output=output, generator=url) == 1
        error = json.loads(capsys.readouterr().out)["error"]
        assert "2 of 8 questions got no answer (2 x status 500)" in error["what"] and "--max-failed 0.25" in error["do"]
        state["well"] = True
        before = len(server.seen)
        assert augment(*options, seeds=seeds, output=output, generator=url) == 0
        assert len(server.seen) - before == 2


def test_the_key_is_in_no_file_and_no_word(seeds, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("TINY_KEY", "sk-very-secret")
    with serving(helpful) as (url, server):
        assert augment("paraphrase", "--key-env", "TINY_KEY", seeds=seeds, output=tmp_path / "a.jsonl", generator=url) == 0
    assert server.keys and set(server.keys) == {"Bearer sk-very-secret"}
    said = capsys.readouterr()
    texts = [file.read_text() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(texts) >= 4 and not any("sk-very-secret" in text for text in [*texts, said.out, said.err])


def test_another_recipe_setting_needs_restart_and_then_uses_known_answers(seeds, tmp_path, capsys):
    output = tmp_path / "a.jsonl"
    with serving(helpful) as (url, server):
        assert augment("paraphrase", seeds=seeds, output=output, generator=url) == 0
        asked = len(server.seen)
        changed = ("paraphrase", "--set", "most_alike=0.99")
        assert augment(*changed, seeds=seeds, output=output, generator=url) == 2
        assert "most_alike" in capsys.readouterr().err
        assert augment(*changed, "--restart", seeds=seeds, output=output, generator=url) == 0
        assert len(server.seen) == asked
    assert output.with_name("a.jsonl.old-1").exists()


def test_another_style_guide_behind_a_reward_is_another_request(seeds, tmp_path, capsys):
    guide, output = tmp_path / "guide.yaml", tmp_path / "a.jsonl"
    options = ("best-of-n", "--reward", f"reward.rules:style(guide={str(guide)!r})", "--set", "n=2")
    with serving(lambda body: f"Answer {'!' * (body['seed'] % 5)}") as (url, _):
        for text, code in (("tone: {exclamation_marks: 0}", 0), ("tone: {exclamation_marks: 1}", 2)):
            guide.write_text(text)
            assert augment(*options, seeds=seeds, output=output, generator=url) == code
    assert "reads" in capsys.readouterr().err


def test_a_kill_loses_no_answer_and_nothing_is_asked_twice(seeds, tmp_path):
    """The endpoint holds the sixth question back, the command is killed there, and the same command goes on."""
    output, reached, count = tmp_path / "a.jsonl", threading.Event(), {"questions": 0}
    lock = threading.Lock()

    def reply(body):
        with lock:
            count["questions"] += 1
            held = count["questions"] == 6
        if held:
            reached.set()
            return "stall"
        return helpful(body)

    with serving(reply) as (url, server):
        command = [sys.executable, "-m", "alignment", "data", "augment", "paraphrase", "--data", str(seeds), "--generator", url,
                   "--output", str(output), "--concurrency", "1"]
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
        assert reached.wait(60)
        os.kill(child.pid, signal.SIGKILL)
        child.wait()
        server.released.set()
        assert not output.exists() and len(rows(Path(f"{output}.requests.jsonl"))) == 5
        with open(f"{output}.requests.jsonl", "a") as file:
            file.write('{"key": "half a li')  # what a kill in the middle of a write leaves
        assert augment("paraphrase", seeds=seeds, output=output, generator=url) == 0
        known = len(rows(Path(f"{output}.requests.jsonl")))
    assert len(server.seen) == known + 1  # the one that was held back, and nothing else, was sent again
    assert max(server.answered.values()) <= 2  # two paraphrases of a prompt differ by their seed alone


def _heed_interrupts():
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_an_interrupt_waits_for_what_is_on_its_way(number, code, seeds, tmp_path):
    output, flying, free = tmp_path / "a.jsonl", threading.Semaphore(0), threading.Event()

    def reply(body):
        flying.release()
        free.wait(20)
        return helpful(body)

    with serving(reply) as (url, server):
        command = [sys.executable, "-m", "alignment", "data", "augment", "paraphrase", "--data", str(seeds), "--generator", url,
                   "--output", str(output), "--concurrency", "3"]
        # a shell's background jobs ignore SIGINT, and children inherit that
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, preexec_fn=_heed_interrupts)
        for _ in range(3):
            assert flying.acquire(timeout=60)
        child.send_signal(number)
        free.set()
        said = child.communicate(timeout=60)[1]
    assert child.returncode == code and "interrupted" in said and "Traceback" not in said
    assert len(rows(Path(f"{output}.requests.jsonl"))) == sum(server.answered.values()) >= 3 and not output.exists()


@pytest.mark.parametrize(("arguments", "said"), [
    (("paraprase",), "no recipe 'paraprase'. Expected: paraphrase?"),
    (("paraphrase", "--set", "cuont=2"), "count?"), (("paraphrase", "--temperature", "0"), "above 0"),
    (("paraphrase", "--max-cost", "1"), "--price"), (("paraphrase", "--price", "1"), "two numbers"),
    (("best-of-n",), "nothing says which answer is best"), (("paraphrase", "--reward", "reward.rules:stop"), "takes no reward"),
    (("backtranslate",), "these rows are prompts"), (("paraphrase", "--key-env", "SURELY_NOT_SET"), "SURELY_NOT_SET"),
    (("paraphrase", "--style", "none.yaml"), "none.yaml"),
])
def test_wrong_use_is_one_paragraph(arguments, said, seeds, tmp_path, capsys):
    assert augment(*arguments, seeds=seeds, output=tmp_path / "a.jsonl", generator="http://127.0.0.1:9/v1#tiny") == 2
    assert said in capsys.readouterr().err and not list(tmp_path.glob("a.jsonl*"))


def test_nothing_kept_is_said_with_the_gates(seeds, tmp_path, capsys):
    with serving(lambda body: "no") as (url, _):
        assert augment("paraphrase", seeds=seeds, output=tmp_path / "a.jsonl", generator=url) == 1
    assert "no row passed the gates (6 length, 2 lost-detail)" in capsys.readouterr().err
    assert len(rows(tmp_path / "a.jsonl.refused.jsonl")) == 8 and not (tmp_path / "a.jsonl").exists()
