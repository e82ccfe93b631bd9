from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest_pipelines_tests.rules.feeds import broken, outcomes, values

EMAIL = {"type": "email"}
PHONE = {"type": "phone"}
BRITISH = {"type": "phone", "region": "GB"}
AMERICAN = {"type": "phones", "region": "US"}
IP = {"type": "ip"}

LABEL = "a" * 63
EMAILS = [
    "ann@example.com", "ann.lee@example.com", "ann+news@example.com", "ann_lee@example.com", "ann-lee@example.com",
    "a@b.co", "1@2.de", "123@example.com", "ann@mail.example.co.uk", "ANN@EXAMPLE.COM", "Ann@Example.com",
    "o'hara@example.ie", "ann@ex-ample.com", "ann@1and1.com", "ann@a.b.c.d.example.com", "ann@xn--mller-kva.de",
    "ann@example.xn--p1ai", "ann@example.museum", "ann@example.photography", "!#$%&'*+/=?^_`{|}~@example.com",
    "-@example.com", "_@example.com", "a.b.c.d.e@example.com", f"{'a' * 64}@example.com", f"ann@{LABEL}.com",
    f"ann@{LABEL}.{LABEL}.{LABEL}.com", "ann@x.io", "ann=lee@example.com", "ann{lee}@example.com", "a@1.2.3.com",
    "ann/lee@example.com", "ann@EXAMPLE.Org",
]  # fmt: skip
NOT_EMAILS = [
    "ann", "ann@", "@example.com", "@", "ann@example", "ann@localhost", "ann@.com", "ann@example.", "ann@example..com",
    "ann@-example.com", "ann@example-.com", "ann@exa_mple.com", ".ann@example.com", "ann.@example.com",
    "ann..lee@example.com", "ann lee@example.com", "ann@exam ple.com", "ann@@example.com", "ann@lee@example.com",
    "ann@example.com,bob@example.com", "ann@example.com;bob@example.com", "ann@example.com bob@example.com",
    "Ann <ann@example.com>", "<ann@example.com>", "mailto:ann@example.com", '"ann lee"@example.com',
    "ann(comment)@example.com", "ann@[192.0.2.1]", "ann@192.0.2.1", "ann@example.c", "ann@example.123",
    f"{'a' * 65}@example.com", f"ann@{'a' * 64}.com", "ann@exam\tple.com", "ann\n@example.com", "änn@example.com",
    "ann@müller.de", "ann@exаmple.com", "ann\\@example.com", "ann,lee@example.com", "ann:lee@example.com",
    "ann[lee]@example.com", "ann@example.com.", "ann@example,com", "N/A", "none", "ann at example.com",
    "ann\u200b@example.com", f"{'a' * 64}@{LABEL}.{LABEL}.{LABEL}.com",
]  # fmt: skip


def test_an_email_is_one_address_and_is_kept_as_it_stands() -> None:
    assert values(EMAIL, EMAILS) == {address: address for address in EMAILS}
    assert values(EMAIL, [" ann@example.com "]) == {" ann@example.com ": "ann@example.com"}


def test_what_no_mail_system_takes_is_rejected() -> None:
    assert broken(EMAIL, NOT_EMAILS) == {cell: ["bad_email"] for cell in NOT_EMAILS}


def test_an_address_has_at_most_254_characters() -> None:
    longest = f"{'a' * 64}@{'b' * 63}.{'c' * 63}.{'d' * 57}.com"
    assert len(longest) == 254
    assert broken(EMAIL, [longest, longest.replace(".com", "d.com")]) == {
        longest: [], longest.replace(".com", "d.com"): ["bad_email"],
    }  # fmt: skip


PHONES = {
    "+442079460018": "+442079460018", "+12025550143": "+12025550143", "+4930123456": "+4930123456",
    "+861012345678": "+861012345678", "(+44) 20 7946 0018": "+442079460018", "TEL:+44 20 7946 0018": "+442079460018",
    "+4402079460018": "+442079460018", "+330612345678": "+33612345678", "+44 20 7946 0018\n": "+442079460018",
    "+44\u202f20\u20117946\u20130018": "+442079460018", "\u202a+44 20 7946 0018\u202c": "+442079460018",
    " +442079460018 ": "+442079460018", "+44 20 7946 0018": "+442079460018", "+44 (0)20 7946 0018": "+442079460018",
    "+44 (20) 7946-0018": "+442079460018", "+44-20-7946-0018": "+442079460018", "+44.20.7946.0018": "+442079460018",
    "+44 20 79460018": "+442079460018", "+44\u00a020\u00a07946\u00a00018": "+442079460018",
    "tel:+44-20-7946-0018": "+442079460018", "+1 (202) 555-0143": "+12025550143", "+1 202.555.0143": "+12025550143",
    "+49 30 123456": "+4930123456", "+49 (0) 30/123456": "+4930123456", "+33 1 42 68 53 00": "+33142685300",
    "+39 06 6982": "+39066982", "+81 3-3224-5000": "+81332245000", "+61 2 6271 5111": "+61262715111",
    "+7 495 123-45-67": "+74951234567", "+91 98765 43210": "+919876543210", "+353 1 234 5678": "+35312345678",
    "+46 8 123 456 78": "+46812345678", "+358 9 1234 5678": "+358912345678", "+64 4 817 9999": "+6448179999",
    "+ 44 20 7946 0018": "+442079460018", "+44 7700 900123": "+447700900123", "+34 912 345 678": "+34912345678",
}  # fmt: skip
NOT_PHONES = [
    "020 7946 0018", "02079460018", "442079460018", "00442079460018", "(202) 555-0143", "12345", "+", "+1", "+12",
    "+123456", "+0123456789", "+1234567890123456", "+44 20 7946", "+44 20 7946 0018 0018 0018", "+999 123 456",
    "+44 20 7946 0018 x12", "+44 20 7946 0018 ext. 12", "+44 20 7946 0018;+44 20 7946 0019",
    "+442079460018,+442079460019", "+1-800-FLOWERS", "+1 800 flowers", "phone", "N/A", "none", "unknown",
    "++442079460018", "+44+2079460018", "+99912345678",
    "+999 1234 5678", "+1415555267", "+1 415 555 267", "+1234567", "+123456789012345", "+4900 30 123456",
    "\u0664\u0664", "\uff0b442079460018", "07700 900123",
    "-", "0", "000000000", "ann@example.com", "+44 20 7946 001*", "#21#", "*100#", "+44_20_7946_0018", "1e10",
]  # fmt: skip


def test_a_phone_is_stored_as_e164() -> None:
    assert values(PHONE, list(PHONES)) == PHONES


def test_without_a_region_a_national_number_is_rejected() -> None:
    assert broken(PHONE, NOT_PHONES) == {cell: ["bad_phone"] for cell in NOT_PHONES}


def test_a_region_reads_national_numbers() -> None:
    spellings = {
        "020 7946 0018": "+442079460018", "02079460018": "+442079460018", "(020) 7946-0018": "+442079460018",
        "0044 20 7946 0018": "+442079460018", "+12025550143": "+12025550143", "7946 0018 123 45": ["bad_phone"],
    }  # fmt: skip
    assert values(BRITISH, list(spellings)) == spellings


def test_a_typed_phone_is_read_by_its_digits() -> None:
    assert outcomes(BRITISH, pl.Series([2079460018, 12])) == [("+442079460018", []), (None, ["bad_phone"])]


TWO = ["+12025550143", "+12025550144"]
LISTS = {
    "+12025550143": TWO[:1], "+12025550143;+12025550144": TWO, "+12025550143,+12025550144": TWO,
    "+12025550143; +12025550144": TWO, " +12025550143 , +12025550144 ": TWO, "+12025550143;+12025550144;": TWO,
    "+12025550143;;+12025550144": TWO, '["+12025550143","+12025550144"]': TWO,
    '[ "+12025550143" , "+12025550144" ]': TWO, '["+12025550143"]': TWO[:1], "[]": [],
    "+12025550143;+12025550143": TWO[:1], "(202) 555-0143": TWO[:1], "(202) 555-0143;202-555-0144": TWO,
    "202.555.0143, 202.555.0144": TWO, "+12025550143;(202) 555-0143": TWO[:1], '["(202) 555-0143"]': TWO[:1],
    "+1 202 555 0143": TWO[:1], "+442079460018": ["+442079460018"],
    "+442079460018;+12025550143": ["+442079460018", "+12025550143"], '["+442079460018"]': ["+442079460018"],
}  # fmt: skip
NOT_LISTS = [
    ";", ",", " ; ", "12", "+12025550143;12", "12;+12025550143", "+12025550143 +12025550144",
    "+12025550143|+12025550144", "+12025550143/+12025550144", "+12025550143 and +12025550144", '["+12025550143"',
    '"+12025550143"]', '{"phone":"+12025550143"}', '{"+12025550143"}', "[12025550143]", "[null]", '["12"]',
    '[["+12025550143"]]', '["+12025550143", 5]', "['+12025550143']", "x", "N/A", "null", '""', '[""]',
    "[+12025550143]", "+12025550143:+12025550144", "+12025550143;x", "[NaN]", "[", "]",
]  # fmt: skip


def test_phones_are_a_list_however_it_is_written() -> None:
    assert values(AMERICAN, list(LISTS)) == LISTS


def test_one_bad_number_rejects_the_list() -> None:
    assert broken(AMERICAN, NOT_LISTS) == {cell: ["bad_phone"] for cell in NOT_LISTS}


def test_typed_phones_are_a_list() -> None:
    cells = pl.Series([TWO, ["12"], None], dtype=pl.List(pl.String))
    assert outcomes(AMERICAN, cells) == [(TWO, []), (None, ["bad_phone"]), (None, [])]


IPS = {
    "0.0.0.0": "0.0.0.0", "1.2.3.4": "1.2.3.4", "255.255.255.255": "255.255.255.255", "192.168.0.1": "192.168.0.1",
    "10.0.0.1": "10.0.0.1", "127.0.0.1": "127.0.0.1", "203.0.113.7": "203.0.113.7", "99.100.199.200": "99.100.199.200",
    "249.250.251.252": "249.250.251.252", " 1.2.3.4 ": "1.2.3.4", "::": "::", "::1": "::1",
    "2001:db8::7": "2001:db8::7", "2001:DB8::7": "2001:db8::7",
    "2001:0db8:0000:0000:0000:0000:0000:0007": "2001:db8::7", "2001:db8:0:0:0:0:0:7": "2001:db8::7",
    "fe80::1": "fe80::1", "::ffff:1.2.3.4": "::ffff:102:304", "64:ff9b::1.2.3.4": "64:ff9b::102:304", "1::": "1::",
    "1:2:3:4:5:6:7:8": "1:2:3:4:5:6:7:8", "ff02::1": "ff02::1", "2001:db8::0:1": "2001:db8::1", "::1:2": "::1:2",
    "a::b": "a::b", "A:B:C:D:E:F:1:2": "a:b:c:d:e:f:1:2", "0:0:0:0:0:0:0:0": "::",
    "2001:4860:4860::8888": "2001:4860:4860::8888", "1.1.1.1": "1.1.1.1", "8.8.8.8": "8.8.8.8",
}  # fmt: skip
NOT_IPS = [
    "1.2.3", "1.2.3.4.5", "1.2.3.256", "256.1.1.1", "01.2.3.4", "1.2.3.04", "1.2.3.-4", "1.2.3.4/24", "1.2.3.4:80",
    "1,2,3,4", "1.2.3.", ".1.2.3", "1..2.3", "1 .2.3.4", "1.2.3.4 5", "0x1.2.3.4", "16909060", "1.2.3.4, 5.6.7.8",
    "localhost", "example.com", ":", ":::", "1:::2", "2001:db8::7::1", "2001:db8", "1:2:3:4:5:6:7",
    "1:2:3:4:5:6:7:8:9", "12345::", "g::1", "fe80::1%eth0", "[::1]", "[2001:db8::7]:443", "2001:db8::/32",
    "::ffff:1.2.3.256", "::ffff:01.2.3.4", "\u0661.2.3.4", "unknown", "-", "NULL", "1.2\n.3.4",
]  # fmt: skip


def test_an_ip_is_an_address_in_its_shortest_spelling() -> None:
    assert values(IP, list(IPS)) == IPS


def test_what_is_no_single_address_is_rejected() -> None:
    assert broken(IP, NOT_IPS) == {cell: ["bad_ip"] for cell in NOT_IPS}


@settings(max_examples=50)
@given(st.lists(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), min_size=1))
def test_every_address_survives_its_text(addresses: list[IPv4Address | IPv6Address]) -> None:
    assert outcomes(IP, [one.exploded for one in addresses]) == [(str(one), []) for one in addresses]


@settings(max_examples=50)
@given(
    st.lists(
        st.from_regex(r"[a-z0-9]{1,20}(\.[a-z0-9]{1,9}){0,2}@([a-z0-9]{1,9}\.){1,3}[a-z]{2,9}", fullmatch=True),
        min_size=1,
    )
)
def test_every_plain_address_survives(addresses: list[str]) -> None:
    assert outcomes(EMAIL, addresses) == [(address, []) for address in addresses]
