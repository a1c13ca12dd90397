"""The columns of updates.jsonl: one public function each, found by looking into this folder."""


class NotApplicable(Exception):  # noqa: N818 - it is an answer, not an error
    """Raised by a quantity that has no meaning for this policy or algorithm; recorded as missing."""
