"""The words of a digest: the public list, its properties, and what a misheard word does."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ceremonies.word_list import digest_from_text, to_words, word_lines, word_lists
from pki.errors import InputRefused


def test_the_lists_are_two_times_256_different_words() -> None:
    even, odd = word_lists()
    assert (len(even), len(odd)) == (256, 256)
    assert len({*even, *odd}) == 512
    assert all(word.isascii() and word.isalpha() and word.islower() for word in (*even, *odd))
    assert list(even) == sorted(even)


def test_the_published_example() -> None:
    """The fingerprint with which the list is usually shown, word by word."""
    data = bytes.fromhex("E58294F2E9A227486E8B061B31CC528FD7FA3F19")
    words = (
        "topmost istanbul pluto vagabond treadmill pacific brackish dictator goldfish medusa afflict bravado chatter "
        "revolver dupont midsummer stopwatch whimsical cowbell bottomless"
    )
    assert " ".join(to_words(data)) == words


@given(st.binary(min_size=32, max_size=32))
def test_words_and_hexadecimal_digits_say_the_same(data: bytes) -> None:
    words = to_words(data)
    assert digest_from_text(" ".join(words)) == data
    assert digest_from_text(",\n".join(words).upper()) == data
    assert digest_from_text(f" {data.hex()}\n") == data
    shown = " ".join(word_lines(data)).split()
    assert [word for word in shown if word.isalpha()] == words


@pytest.mark.parametrize("place", [0, 1, 15, 30])
def test_a_word_left_out_doubled_or_exchanged_is_noticed(place: int) -> None:
    words = to_words(bytes(range(32)))
    exchanged = [*words]
    exchanged[place], exchanged[place + 1] = exchanged[place + 1], exchanged[place]
    with pytest.raises(InputRefused, match=rf"word {place + 1}, .* left out, doubled or exchanged"):
        digest_from_text(" ".join(exchanged))
    for wrong in (words[:place] + words[place + 1 :], [*words[: place + 1], *words[place:]]):
        with pytest.raises(InputRefused, match="32 words"):
            digest_from_text(" ".join(wrong))


def test_a_word_that_is_none_is_named() -> None:
    words = to_words(bytes(32))
    words[7] = "absence"
    with pytest.raises(InputRefused, match="word 8, 'absence', is not in the word list"):
        digest_from_text(" ".join(words))


@pytest.mark.parametrize("text", ["", "00", "0" * 63, "0" * 65, "g" * 64])
def test_what_is_no_digest_is_refused(text: str) -> None:
    with pytest.raises(InputRefused):
        digest_from_text(text)
