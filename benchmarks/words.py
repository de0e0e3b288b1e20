"""Counts what is read as people read it: where sentences end, beside the segmenter alone."""

from __future__ import annotations

from pathlib import Path

import sentencex

from benchmarks.report import Report
from gateway.speech.text.segmenter import sentences

CORPORA = Path(__file__).parent.parent / "tests" / "corpora" / "sentences"


def main(scale: float = 1.0) -> None:
    """Print precision and recall of every corpus; `scale` has no effect."""
    report = Report("words", "Ends of sentences against the gold breaks of tests/corpora/sentences")
    rows: list[tuple[object, ...]] = []
    for corpus in sorted(CORPORA.glob("*.txt")):
        lines = [line for line in corpus.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
        ours = _score(lines, lambda text, language=corpus.stem: list(sentences(text, language)))
        alone = _score(lines, lambda text, language=corpus.stem: [s.strip() for s in sentencex.segment(language, text)])
        rows.append((corpus.stem, len(lines), *ours, *alone))
    report.table(("language", "items", "precision", "recall", "sentencex: precision", "recall"), rows)
    report.target("precision, lowest of the languages", min(float(row[2]) for row in rows), 0.98, at_least=True)
    report.target("recall, lowest of the languages", min(float(row[3]) for row in rows), 0.98, at_least=True)
    report.write()


def _score(lines: list[str], split: object) -> tuple[float, float]:
    found = right = gold = 0
    for line in lines:
        wanted = _breaks(line.split(" ‖ "))
        got = _breaks(split(line.replace(" ‖ ", " ")))  # type: ignore[operator]
        found, right, gold = found + len(got), right + len(got & wanted), gold + len(wanted)
    return right / found, right / gold


def _breaks(parts: list[str]) -> set[int]:
    """Return where sentences end in their joined text."""
    ends, at = set(), 0
    for part in parts[:-1]:
        at += len(part) + 1
        ends.add(at)
    return ends


if __name__ == "__main__":
    main()
