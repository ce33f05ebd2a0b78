"""Personal data and secrets in text: mail addresses, phone numbers, cards and IBANs by their checksums, keys and tokens.

    spans = find("write to eva.lind@web.de")         [Span("mail", 9, 24)]
    masked(text, spans)                               write to e•••@•••.de
    redacted(text, spans)                             write to [mail]

What is reserved for examples is no personal data: the domains of RFC 2606 and the numbers 555-0100 to 555-0199. Only what
holds up is named: a card must pass Luhn and its issuer's length, an IBAN mod 97 and its country's length, a phone number its
country's numbering plan, and a national one must be written as such or be called a phone number.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from data_recipes.token_patterns import BEGINNINGS, TOKEN_PATTERNS

KINDS = ("mail", "phone", "card", "iban", "key")
REGIONS = ("US", "GB", "DE", "FR")  # whose national numbers are looked for; international ones (+...) always are

MAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[\w-]{1,63}\.)+[^\W\d_]{2,24}(?![\w-])")
# RFC 2606 and 6761; and names that examples invent, which belong to nobody who could be written to.
EXAMPLE_DOMAIN = re.compile(r"(?:^|\.)(?:example|test|invalid|localhost|local)$|(?:^|\.)(?:my|your)?"
                            r"(?:example|domain|example-domain|company|email|mail)\.(?:com|org|net)$", re.IGNORECASE)
DIGITS = re.compile(r"(?<![\w.])(?:\d[ -]?){12,18}\d(?![\w.]?\d|\w)")
# Issuer prefixes and lengths, ISO/IEC 7812: Visa, Mastercard, American Express, Discover, Diners, JCB, Maestro, UnionPay.
CARD = re.compile(r"4(?:\d{15}|\d{18})|5[1-5]\d{14}|2(?:22[1-9]|2[3-9]\d|[3-6]\d\d|7[01]\d|720)\d{12}|3[47]\d{13}"
                  r"|6(?:011|5\d\d|4[4-9]\d)\d{12}|3(?:0[0-5]|[689]\d)\d{11}|35(?:2[89]|[3-8]\d)\d{12}|62\d{14,17}")
IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,4})?\b")
# Lengths by country, from the SWIFT IBAN registry.
IBAN_LENGTHS = dict(pair.split(":") for pair in (
    "AD:24 AE:23 AL:28 AT:20 AZ:28 BA:20 BE:16 BG:22 BH:22 BR:29 BY:28 CH:21 CR:22 CY:28 CZ:24 DE:22 DK:18 DO:28 EE:20 EG:29 "
    "ES:24 FI:18 FO:18 FR:27 GB:22 GE:22 GI:23 GL:18 GR:27 GT:28 HR:21 HU:28 IE:22 IL:23 IQ:23 IS:26 IT:27 JO:30 KW:30 KZ:20 "
    "LB:28 LC:32 LI:21 LT:20 LU:20 LV:21 LY:25 MC:27 MD:24 ME:22 MK:19 MR:27 MT:31 MU:30 NL:18 NO:15 PK:24 PL:28 PS:29 PT:25 "
    "QA:29 RO:24 RS:22 SA:24 SC:31 SE:24 SI:19 SK:24 SM:27 ST:25 SV:28 TL:23 TN:24 TR:26 UA:29 VA:22 VG:24 XK:20").split())
PHONE_LIKE = re.compile(r"\+?\(?\d(?:[\s().\-/\u2010-\u2015]{0,3}\d){6,14}")
PHONE_WORD = re.compile(r"(?:phone|call|mobile|cell|fax|whatsapp|sms|text|tel|telefon|handy|mobil|téléphone)\b[^\d\n]{0,24}\Z",
                        re.IGNORECASE)
SEPARATOR = re.compile(r"\D+")
DATE = re.compile(r"(?:19|20)\d\d[-/.](?:0?\d|1[0-2])[-/.]|\d{1,2}[-/.]\d{1,2}[-/.](?:\d\d){1,2}(?!\d)")
PART_BEFORE, PART_AFTER = re.compile(r"\w[-/._]?\Z|[#$€£]\Z"), re.compile(r"[-/._,]?\w")  # of a decimal, a URL, a UUID
OPERATOR_BEFORE, OPERATOR_AFTER = re.compile(r"[=*/^+]\s*\Z"), re.compile(r"\s*[=*/^+]")
US_GROUPS = re.compile(r"(?:1[ .-]?)?(?:\(\d{3}\) ?|\d{3}[ .-]?)\d{3}[ .-]?\d{4}")
TRUNK_ZERO = frozenset(("GB", "DE", "FR", "IT", "NL", "BE", "AT", "CH", "SE", "FI", "IE", "AU", "JP", "KR", "IN"))
FICTIONAL_PHONE = re.compile(r"55501\d\d\Z")
DECIMAL = re.compile(r"\d+[.,]\d+")
KEYS = re.compile("|".join(f"(?:{pattern})" for pattern in TOKEN_PATTERNS.values()))
KEY_BLOCK = re.compile(r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----[A-Za-z0-9+/=\s]*(?:-----END (?:[A-Z]+ )*PRIVATE KEY-----)?")
HIDDEN = "•••"


@dataclass(frozen=True, order=True)
class Span:
    """Where personal data stands: text[start:end] is of this kind."""

    start: int
    end: int
    kind: str


def find(text: str, regions: Iterable[str] = REGIONS) -> list[Span]:
    """All personal data of a text, in order, none overlapping another."""
    found: list[Span] = []
    for look in (_keys, _mails, _ibans, _cards):
        found += (span for span in look(text) if not _covered(span, found))
    found += (span for span in _phones(text, tuple(regions)) if not _covered(span, found))
    return sorted(found)


def masked(text: str, spans: Iterable[Span]) -> str:
    """The text with each span shown only so far that a person can tell what it is."""
    return replaced(text, spans, lambda kind, found: MASKS[kind](found))


def redacted(text: str, spans: Iterable[Span]) -> str:
    """The text with each span replaced by its kind in brackets."""
    return replaced(text, spans, lambda kind, _: f"[{kind}]")


def replaced(text: str, spans: Iterable[Span], word: Callable[[str, str], str]) -> str:
    """The text with each span replaced by `word(kind, what it was)`."""
    pieces, at = [], 0
    for span in sorted(spans):
        pieces += [text[at:span.start], word(span.kind, text[span.start:span.end])]
        at = span.end
    return "".join([*pieces, text[at:]])


def luhn(digits: str) -> bool:
    """Whether the check digit is right (ISO/IEC 7812-1): each second digit from the right doubled, less 9 above 9."""
    values = [int(digit) for digit in reversed(digits)]
    doubled = (value * 2 - 9 * (value > 4) for value in values[1::2])
    return (sum(values[::2]) + sum(doubled)) % 10 == 0


def iban_is_right(text: str) -> bool:
    """Whether country, length and check digits are right (ISO 13616: the number, country moved to the end, is 1 mod 97)."""
    plain = text.replace(" ", "")
    if IBAN_LENGTHS.get(plain[:2]) != str(len(plain)):
        return False
    return int("".join(str(int(letter, 36)) for letter in plain[4:] + plain[:4])) % 97 == 1


def _covered(span: Span, found: list[Span]) -> bool:
    return any(span.start < other.end and other.start < span.end for other in found)


def _keys(text: str) -> Iterator[Span]:
    if not any(beginning in text for beginning in BEGINNINGS):
        return
    for found in KEYS.finditer(text):
        block = KEY_BLOCK.match(text, found.start())
        yield Span(found.start(), block.end() if block else found.end(), "key")


def _mails(text: str) -> Iterator[Span]:
    if "@" not in text:  # the pattern is slow on long texts without one
        return
    for found in MAIL.finditer(text):
        if not EXAMPLE_DOMAIN.search(found.group().partition("@")[2]):
            yield Span(found.start(), found.end(), "mail")


def _cards(text: str) -> Iterator[Span]:
    for found in DIGITS.finditer(text):
        digits = SEPARATOR.sub("", found.group())
        before = text[max(0, found.start() - 3):found.start()]
        in_sum = OPERATOR_BEFORE.search(before) or OPERATOR_AFTER.match(text, found.end())
        if CARD.fullmatch(digits) and luhn(digits) and len(set(digits)) > 1 and not in_sum:
            yield Span(found.start(), found.end(), "card")


def _ibans(text: str) -> Iterator[Span]:
    for found in IBAN.finditer(text):
        if (end := _iban_end(found.group())) is not None:
            yield Span(found.start(), found.start() + end, "iban")


def _iban_end(text: str) -> int | None:
    """How far the number goes: capitals that follow it after a space may have been taken for a part of it."""
    ends = [len(text), *(at for at, sign in enumerate(text) if sign == " ")]
    return next((end for end in sorted(ends, reverse=True) if iban_is_right(text[:end])), None)


def _phones(text: str, regions: tuple[str, ...]) -> Iterator[Span]:
    for found in PHONE_LIKE.finditer(text):
        before = text[max(0, found.start() - 40):found.start()]
        if _is_phone(found.group(), before, text[found.end():found.end() + 2], regions):
            yield Span(found.start(), found.end(), "phone")


def _is_phone(number: str, before: str, after: str, regions: tuple[str, ...]) -> bool:
    """Whether digits are a phone number; sums, dates, decimals and identifiers have no place in a numbering plan."""
    digits, said = SEPARATOR.sub("", number), bool(PHONE_WORD.search(before))
    if FICTIONAL_PHONE.search(digits) or DATE.match(number) or DECIMAL.fullmatch(number):
        return False
    if PART_BEFORE.search(before) or PART_AFTER.match(after):
        return False
    if not said and (OPERATOR_BEFORE.search(before) or OPERATOR_AFTER.match(after)):
        return False
    if number.startswith("+"):
        return _is_valid(number, None)
    written = "(" in number or len(SEPARATOR.findall(number)) >= (1 if number.startswith("0") else 2)
    return (written or said) and any(_is_national(number, region) for region in regions)


def _is_national(number: str, region: str) -> bool:
    """As people of that country write it: a trunk 0 first in Europe, the groups of three, three and four in the US."""
    if region in TRUNK_ZERO:
        return number.lstrip("(").startswith("0") and _is_valid(number, region)
    return bool(US_GROUPS.fullmatch(number)) and _is_valid(number, region)


def _is_valid(number: str, region: str | None) -> bool:
    import phonenumbers

    try:
        return phonenumbers.is_valid_number(phonenumbers.parse(number, region))
    except phonenumbers.NumberParseException:
        return False  # no number of any plan: an answer, not a fault


def _mask_mail(text: str) -> str:
    name, _, domain = text.partition("@")
    return f"{name[0]}{HIDDEN}@{HIDDEN}.{domain.rpartition('.')[2]}"


def _mask_end(text: str) -> str:
    return f"{HIDDEN}{text[-2:]}"


def _mask_start(text: str) -> str:
    return f"{text[:4]}{HIDDEN}"


MASKS: dict[str, Callable[[str], str]] = {
    "mail": _mask_mail, "phone": _mask_end, "card": _mask_end, "iban": _mask_start, "key": _mask_start,
}
