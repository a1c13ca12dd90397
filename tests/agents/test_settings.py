"""What a setting admits, in words."""

from typing import Annotated, Literal, Optional

import pytest
from annotated_types import Ge, Gt, Le, Lt

from agents.settings import in_words

WORDS = [
    (float, "number"),
    (bool, "true or false"),
    (str, "word"),
    (Annotated[int, Ge(1)], "whole number >= 1"),
    (Annotated[float, Gt(0)], "number > 0"),
    (Annotated[float, Ge(0), Le(1)], "number from 0 to 1"),
    (Annotated[float, Gt(0), Lt(1)], "number > 0 and < 1"),
    (Annotated[float, Ge(0), Lt(1)], "number >= 0 and < 1"),
    (Annotated[int, Ge(1), Le(1_500_000)], "whole number from 1 to 1500000"),
    (Annotated[float, Gt(0)] | None, "number > 0 or null"),
    (Optional[int], "whole number or null"),  # noqa: UP045 - the old spelling is another type
    (Literal["tanh", "relu"], "one of tanh, relu"),
    (Annotated[float, Ge(0)] | Literal["auto"], "number >= 0 or auto"),
    (tuple[Annotated[int, Gt(0)], ...], "list of whole numbers > 0"),
    (tuple[Annotated[int, Gt(0)], ...] | None, "list of whole numbers > 0 or null"),
    (tuple[Literal["a", "b"], ...], "list of one of a, b"),
    (tuple[float, float], "list of 2 numbers"),
    (tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]], "list of 2 numbers >= 0 and < 1"),
    (tuple[Annotated[float, Ge(0), Lt(1)], bool], "list of 2: number >= 0 and < 1, true or false"),
]


@pytest.mark.parametrize(("annotation", "words"), WORDS, ids=[words for _, words in WORDS])
def test_types_and_ranges_in_words(annotation, words):
    assert in_words(annotation) == words
