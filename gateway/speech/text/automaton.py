"""Finds many phrases in a long row in one pass, however many they are and however they begin alike.

After Aho and Corasick, "Efficient string matching" (Communications of the ACM 18, 1975), with everything turned
round: phrases and row are read from their ends, so that each place of the row is told the phrases that begin there.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence

_WINDOW = 20_000  # places whose phrases are told at once


class Automaton:
    """Phrases, each a row of tokens (or the characters of a string); their numbers are their places among them.

    Attributes:
        lengths: of each phrase, in tokens.
    """

    def __init__(self, phrases: Iterable[Sequence[Hashable]]) -> None:
        """Of several equal phrases the last one is found."""
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
        self._fall = self._falls()

    def _falls(self) -> list[int]:
        """For each state the one of its longest proper ending; states without a phrase of their own get that one's."""
        fall = [0] * len(self._next)
        row = list(self._next[0].values())
        for state in row:  # grows, level by level
            for token, following in self._next[state].items():
                row.append(following)
                back = fall[state]
                while back and token not in self._next[back]:
                    back = fall[back]
                fall[following] = self._next[back].get(token, 0)
                if self._longest[following] < 0:
                    self._longest[following] = self._longest[fall[following]]
        return fall

    def longest(self, row: Sequence[Hashable]) -> list[int]:
        """For each place of a row the number of the longest phrase that begins there, -1 where none does."""
        found = [-1] * len(row)
        following, fall, longest = self._next, self._fall, self._longest
        state = 0
        for place in range(len(row) - 1, -1, -1):
            token = row[place]
            step = following[state].get(token)
            while step is None and state:
                state = fall[state]
                step = following[state].get(token)
            state = step or 0
            found[place] = longest[state]
        return found

    def spans(self, row: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
        """Begin and end of the phrases in a row that do not overlap: of those that do the first, then the longest."""
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
