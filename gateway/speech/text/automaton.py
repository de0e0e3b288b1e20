"""Finds many phrases in a sequence of tokens in one pass, in linear time for any number of phrases.

After Aho and Corasick, "Efficient string matching" (Communications of the ACM 18, 1975), reversed: phrases and tokens
are read from their ends, so that the phrases that begin at each place are found.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

_WINDOW = 20_000  # places that are searched at once


class Automaton:
    """Finds phrases, each a sequence of tokens (or the characters of a string); a phrase's number is its index.

    Attributes:
        lengths: of each phrase, in tokens.
    """

    def __init__(self, phrases: Iterable[Sequence[Hashable]]) -> None:
        """Build the automaton; of several equal phrases the last one is found."""
        self._next: list[dict[Hashable, int]] = [{}]
        self._longest = [-1]
        self.lengths: list[int] = []
        for number, phrase in enumerate(phrases):
            self.lengths.append(len(phrase))
            state = 0
            for token in reversed(phrase):
                following = self._next[state].get(token)
                if following is None:
                    following = self._next[state][token] = len(self._next)
                    self._next.append({})
                    self._longest.append(-1)
                state = following
            self._longest[state] = number
        self._failure = self._failure_links()

    def _failure_links(self) -> list[int]:
        """Return for each state the state of its longest proper ending; states without a phrase take its phrase."""
        failure = [0] * len(self._next)
        row = list(self._next[0].values())
        for state in row:  # the list grows during the loop, level by level
            for token, following in self._next[state].items():
                row.append(following)
                back = failure[state]
                while back and token not in self._next[back]:
                    back = failure[back]
                failure[following] = self._next[back].get(token, 0)
                if self._longest[following] < 0:
                    self._longest[following] = self._longest[failure[following]]
        return failure

    def longest(self, row: Sequence[Hashable]) -> list[int]:
        """Return for each place the number of the longest phrase that begins there, -1 if there is none."""
        found = [-1] * len(row)
        following, failure, longest = self._next, self._failure, self._longest
        state = 0
        for place in range(len(row) - 1, -1, -1):
            token = row[place]
            step = following[state].get(token)
            while step is None and state:
                state = failure[state]
                step = following[state].get(token)
            state = step or 0
            found[place] = longest[state]
        return found

    def spans(self, row: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
        """Yield begin and end of the phrases; of phrases that overlap the first one is taken, then the longest."""
        start = 0
        while start < len(row):
            window = row[start : start + _WINDOW + max(self.lengths, default=0)]
            last = start + len(window) == len(row)
            place, end = 0, len(window) if last else _WINDOW
            found = self.longest(window)
            while place < end:
                number = found[place]
                if number < 0:
                    place += 1
                    continue
                yield start + place, start + place + self.lengths[number]
                place += self.lengths[number]
            start += place
