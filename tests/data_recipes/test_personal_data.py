"""Personal data: each kind is found where it stands, what only looks like it is not, and nothing is shown in full."""

from __future__ import annotations

import pytest

from data_recipes.personal_data import HIDDEN, KINDS, find, iban_is_right, luhn, masked, redacted

TRUE = {
    "mail": ["eva.lind@web.de", "o'neil+news@mail.tcd.ie", "李雷@网站.中国"],
    "phone": ["+49 30 901820", "(215) 204-3120", "0171 1234567", "01 42 68 53 00", "0044 20 7031 3000", "+1 650-253-0000"],
    "card": ["4111 1111 1111 1111", "5500-0000-0000-0004", "378282246310005", "6011000990139424"],
    "iban": ["DE89 3704 0044 0532 0130 00", "GB29NWBK60161331926819", "NO9386011117947", "FR1420041010050500013M02606"],
    "key": ["hf_" + "a1" * 17, *(f"gh{kind}_" + "Z9" * 18 for kind in "pousr"), "github_pat_" + "a_" * 25, "glpat-" + "a-" * 10,
            "sk-proj-" + "x_" * 20, "AKIA" + "A1" * 8, "ASIA" + "A1" * 8, "AIza" + "a_0-x" * 7,
            *(f"xox{kind}-" + "1a-" * 7 for kind in "abprs"), "eyJ" + "a" * 10 + ".eyJ" + "b" * 10 + "." + "c" * 20,
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"],
}
FALSE = [
    "someone@example.com", "user@test", "a@b", "@handle", "me@my-service.example.org", "+1 212 555 0123",
    "4111 1111 1111 1112", "1646615806005 + 2 =", "4212883012996", "0000 0000 0000 0000",
    "DE89 3704 0044 0532 0130 01", "AB12 3456 7890 1234 56", "2022-05-15", "09/14/1656", "2020-09-23", "859-56-0028",
    "821091117+4908374100427?", "-0.3571428571", "161.86 / 74.99", "doi:10.1053/j.ajkd.2010.06.011", "192.168.100.100",
    "349d470b-6086-4278-8014-dc93d908fb8d", "sk-learn", "hf_hub", "order 3036165596 of 95808 + 3036165596",
]


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in TRUE.items() for text in texts])
@pytest.mark.parametrize("frame", ["{}", "Please write to {}.", "It is ({}), thanks", "first\n{}\nlast"])
def test_each_kind_is_found_wherever_it_stands(kind: str, text: str, frame: str):
    whole = frame.format(text)
    found = find(whole)
    assert [span.kind for span in found] == [kind], whole
    start, end = found[0].start, found[0].end
    assert text.lstrip("o'(") in whole[max(0, start - 1):end + 1] and kind in KINDS


@pytest.mark.parametrize("text", FALSE)
def test_what_only_looks_like_it_is_not_named(text: str):
    assert find(text) == [] and find(f"It says {text} here.") == []


def test_a_phone_number_without_groups_must_be_called_one():
    assert find("Call me at 6502530000 please")[0].kind == "phone"
    assert find("The sum is 6502530000 dollars") == []


def test_regions_are_the_callers_choice():
    assert find("0171 1234567", regions=("US",)) == []
    assert find("0171 1234567", regions=("DE",))[0].kind == "phone"


def test_checksums_by_hand():
    # 7992739871 with the check digit 3 is Luhn's textbook number
    assert luhn("79927398713") and not luhn("79927398710")
    assert iban_is_right("GB82 WEST 1234 5698 7654 32") and not iban_is_right("GB82 WEST 1234 5698 7654 33")
    assert not iban_is_right("GB82 WEST 1234 5698 7654")


def test_capitals_after_an_iban_are_no_part_of_it():
    found = find("to DE89 3704 0044 0532 0130 00 PLEASE")[0]
    assert "to DE89 3704 0044 0532 0130 00 PLEASE"[found.start:found.end] == "DE89 3704 0044 0532 0130 00"


@pytest.mark.parametrize(("kind", "text"), [(kind, text) for kind, texts in TRUE.items() for text in texts])
def test_a_mask_tells_the_kind_and_hides_the_rest(kind: str, text: str):
    shown = masked(text, find(text))
    hidden = sum(sign.isalnum() for sign in text) - sum(sign.isalnum() for sign in shown)
    assert HIDDEN in shown and hidden >= min(7, len(text) // 3)
    assert redacted(f"a {text} b", find(f"a {text} b")).replace("o'", "") == f"a [{kind}] b"


def test_long_texts_without_any_are_quick():
    text = "The total of 1234567 and 7654321 is given. " * 20_000
    assert find(text) == []
