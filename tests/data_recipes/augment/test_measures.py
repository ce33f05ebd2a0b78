import pytest

from data_recipes.augment.diversity import compare, distinct_n, is_synthetic, self_bleu
from data_recipes.augment.novelty import Pool, Words, rouge_l


def test_rouge_l_by_hand():
    assert rouge_l("the cat sat down", "the cat lay down") == pytest.approx(3 / 4)  # the cat down, of 4 and 4
    assert rouge_l("a b c d", "d c b a") == pytest.approx(1 / 4)
    assert rouge_l("a b", "a b c d") == pytest.approx(2 * 1 * 0.5 / 1.5)


def test_words_of_any_script():
    assert Words().tokenize("Où est l'État?") == ["où", "est", "l", "état"]
    assert Words().tokenize("订单17在哪里") == ["订", "单", "17", "在", "哪", "里"]
    assert rouge_l("где мой заказ", "где мой заказ") == 1.0  # rouge-score's own words would give 0


def test_the_pool_finds_what_a_full_search_finds():
    texts = [f"where is the {thing} of order {number}" for thing in ("lantern", "scarf", "puzzle") for number in range(9)]
    pool = Pool(texts)
    for text in ("where is my lantern", "what does order 3 cost", "the puzzle of order 5 where is", ""):
        best = max(rouge_l(other, text) for other in texts)
        assert pool.nearest(text)[0] == pytest.approx(best)
        assert pool.nearest(text, 0.7)[0] == (pytest.approx(best) if best >= 0.7 else 0.0)
    assert Pool().nearest("anything") == (0.0, "")


def test_distinct_n_by_hand():
    assert distinct_n(["a b a b", "a b"], 1) == pytest.approx(2 / 6)
    assert distinct_n(["a b a b", "a b"], 2) == pytest.approx(2 / 4)  # ab ba ab, ab
    assert distinct_n(["a"], 2) == 0.0


def test_self_bleu_at_its_limits():
    assert self_bleu(["one two three four five"] * 3) == pytest.approx(100.0)
    assert self_bleu(["one two three four", "five six seven eight", "nine ten eleven twelve"]) < 5
    with pytest.raises(ValueError, match="two texts"):
        self_bleu(["alone"])


def test_monotonous_rows_stand_out_beside_varied_ones():
    human = [f"{'quick slow bright dark odd'.split()[i % 5]} thing {i} {'runs sleeps sings'.split()[i % 3]} near place {i * 7}"
             for i in range(30)]
    found = compare(["I am happy to help with your order today."] * 20 + human[:2], human)
    assert found["texts"] == 22 and found["measures"]["distinct_2"]["difference"]["high"] < 0
    assert found["measures"]["self_bleu"]["difference"]["low"] > 0
    assert found == compare(["I am happy to help with your order today."] * 20 + human[:2], human)
    assert compare(["one"], human) is None
    assert is_synthetic({"synthetic": {"recipe": "x"}}) and not is_synthetic({"synthetic": True}) and not is_synthetic({})
