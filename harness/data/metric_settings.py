"""Settle what the metrics of a task assume of its rows: declared by the task, or beyond doubt in the rows."""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from harness.contracts.declarations import unknown
from harness.contracts.kind import EncodedRows
from harness.data.row_checks import used_labels
from harness.errors import HarnessError
from harness.metrics import Metric
from harness.metrics.entities import SCHEMES, SYNONYMS, is_letter, is_outside, misplaced_tag, split_tag
from harness.util.machine import missing_module

if TYPE_CHECKING:
    from datasets import Dataset

    from harness.spec import Task

OPPOSITES = {("0", "1"), ("no", "yes"), ("false", "true"), ("negative", "positive")}
"""Pairs of labels, in small letters, the second of which is the one to be found; so is the second of not_x and x."""
NUMBERED = re.compile(r"([+-]?\d+(?:\.\d+)?)(.*?)s?")
"""A label that is or begins with a number, without the plural of its unit: `3`, `1 star`, `2 stars`."""
SPLITTERS = {
    "HANGUL": "ko-mecab", "HIRAGANA": "ja-mecab", "KATAKANA": "ja-mecab", "CJK": "zh", "THAI": "flores200",
    "LAO": "flores200", "KHMER": "flores200", "MYANMAR": "flores200", "TIBETAN": "flores200",
}  # fmt: skip
"""Script whose words no space parts, or not all → sacrebleu's tokenizer for it; the first that occurs counts."""
UNSPACED_SHARE = 0.05
"""Share of letters of such scripts from which splitting at spaces misleads: less are names and quotations."""
FEWEST_TOKENS = 4
"""BLEU counts up to four tokens in a row; shorter references have no such row."""
EMPTIED_SHARE = 0.01
"""Share of answers that may be empty once SQuAD's rules have taken away articles and punctuation."""


@dataclass(frozen=True)
class _Rows:
    """The rows of a task, as its metrics look at them."""

    task: Task
    labels: tuple[str, ...]
    parts: Mapping[str, Dataset]

    @cached_property
    def references(self) -> list[Any]:
        """Correct answers of the test rows, for kinds whose label column holds any answer."""
        rows = self.parts["test"]
        if self.task.kind.label not in ("text", "free"):
            return []
        try:
            return self.task.kind.truths(EncodedRows(None, rows, self.task.inputs, [[]] * len(rows)))
        except Exception:  # a user's kind may need the processor, which is not there yet
            return []

    @cached_property
    def tags(self) -> list[tuple[str, int, tuple[str, ...]]]:
        """(part, row, tags) of every row of words."""
        columns = {part: rows["label"][:] for part, rows in self.parts.items()}
        rows = [(part, number, tags) for part, column in columns.items() for number, tags in enumerate(column)]
        return [(part, number, tuple(self.labels[tag] for tag in tags)) for part, number, tags in rows]

    def error(self, text: str) -> HarnessError:
        return HarnessError(f"task {self.task.name}: {text}")


def settle(task: Task, labels: tuple[str, ...], parts: Mapping[str, Dataset]) -> tuple[dict[str, Metric], list[str]]:
    """Return each of the task's metrics by name, and notes on what was taken from the rows.

    HarnessError where a metric depends on something that neither the task declares nor the rows decide.
    """
    rows, metrics = _Rows(task, labels, parts), {}
    notes = [f"no test row has the label {name!r}: the scores say nothing of it" for name in _untested(rows)]
    for name in task.metrics:
        metrics[name], note = SETTLE[name](rows) if name in SETTLE else (Metric(name), "")
        notes += [f"{name} {note}"] if note else []
    return metrics, notes


def _untested(rows: _Rows) -> list[str]:
    """Return the labels that no test row has."""
    if not rows.labels:
        return []
    used = used_labels(rows.parts["test"])
    return [name for index, name in enumerate(rows.labels) if index not in used]


def _f1(rows: _Rows) -> tuple[Metric, str]:
    labels, positive, note = rows.labels, rows.task.positive, ""
    if positive is None:
        positive = next((b for a in labels for b in labels if len(labels) == 2 and _is_opposite(a, b)), None)
        note = f"is of {positive!r}; declare Task(positive=…) for the other label"
    if positive is None:
        macro = ", or take f1-macro, the mean over all" if len(labels) > 2 else ""
        raise rows.error(
            f"f1 counts one label, and the rows have {', '.join(map(repr, labels)) or 'none'}: "
            f"declare which, as in Task(positive={labels[-1] if labels else '…'!r}){macro}"
        )
    if positive not in labels:
        raise rows.error(unknown("label in positive=", positive, labels))
    if positive in _untested(rows):
        raise rows.error(f"f1 is of {positive!r}, which no test row has; ask for more test rows")
    return Metric("f1", labels.index(positive), f"of {positive!r}"), note


def _is_opposite(absent: str, present: str) -> bool:
    absent, present = absent.strip().casefold(), present.strip().casefold()
    return (absent, present) in OPPOSITES or re.fullmatch(rf"(not|no|non)[ _-]{re.escape(present)}", absent) is not None


def _off_by_one(rows: _Rows) -> tuple[Metric, str]:
    labels, order, step = rows.labels, rows.task.order, ""
    for name in order:
        if name not in labels:
            raise rows.error(unknown("label in order=", name, labels))
    if order and (missing := [name for name in labels if name not in order]):
        raise rows.error(f"order= must name every label once; it lacks {', '.join(missing)}")
    ranks = tuple(map(order.index, labels)) if order else ()
    if not order:
        ranks, step = _numeric_ranks(rows)
    ordered = " < ".join(name for _, name in sorted(zip(ranks, labels, strict=True))) + step
    note = "" if order else f"goes by {ordered}; declare Task(order=…) for another order"
    return Metric("off-by-one-accuracy", ranks, f"over {ordered}"), note


def _numeric_ranks(rows: _Rows) -> tuple[tuple[int, ...], str]:
    """Return each label's place on a scale of even steps, and the step in words where labels leave some out."""
    matches = [NUMBERED.fullmatch(name.strip().casefold()) for name in rows.labels]
    sizes = [Fraction(match[1]) for match in matches if match]
    units = {match[2] if match else None for match in matches}
    if len(units) != 1 or len({*sizes}) != len(rows.labels) or not sizes:
        raise rows.error(
            f"off-by-one-accuracy needs an order, which these labels do not have by themselves: "
            f"{', '.join(rows.labels)}; declare it from one end to the other, as in order=('bad', 'fair', 'good')"
        )
    scale = math.lcm(*(size.denominator for size in sizes))
    steps = [int((size - min(sizes)) * scale) for size in sizes]
    step = math.gcd(*steps)
    ranks = tuple(size // step for size in steps)
    return ranks, "" if max(ranks) < len(ranks) else f" in steps of {float(Fraction(step, scale)):g}"


def _entity_f1(rows: _Rows) -> tuple[Metric, str]:
    """Settle the scheme of entity tags: the declared one, or the only one that every row fits."""
    declared, problem = SYNONYMS.get(rows.task.scheme or "", rows.task.scheme), ""
    if declared and not rows.labels:  # of a user's kind
        return Metric("entity-f1", f"{declared} prefix", f"in {declared}"), ""
    form = "bare" if declared == "bare" else _form(rows.labels)
    letters = {part[0] for tag in rows.labels if not is_outside(tag) and (part := split_tag(tag, form))}
    fitting = [name for name, own in SCHEMES.items() if letters <= {*own} and letters & {*"BIM"}]
    if form == "bare":
        problem, fitting = _bare_problem(rows, declared), ["bare"]
    elif declared not in (None, *fitting) or not fitting:
        scheme = " or ".join(fitting) or "no scheme"
        problem = f"the letters of the tags are {', '.join(sorted(letters))}, which are those of {scheme}"
    breaches = {name: _breach(rows, name, form) for name in ([declared] if declared else fitting) if not problem}
    chosen = declared or next((name for name, text in breaches.items() if not text), None)
    if problem or chosen is None:
        problem = problem or "; ".join(f"{name} {text}" for name, text in breaches.items())
        raise rows.error(
            f"entity-f1 cannot tell where entities begin and end: {problem}. Mend the tags, or declare scheme=, "
            f"one of {', '.join(SCHEMES)}"
        )
    reading = {"bare": "of bare tags, equal neighbours being one entity"}.get(chosen, f"in {chosen}")
    reading += ", letters last" if form == "suffix" else ""
    note = (
        breaches[chosen]
        if declared
        else f"is {reading}, which fits every row; declare Task(scheme=…) for another scheme"
    )
    return Metric("entity-f1", f"{chosen} {form}", reading), note


def _form(tags: tuple[str, ...]) -> str:
    """Return how all tags of entities are written: a letter first, a letter last, or no letter in some."""
    inside = [tag for tag in tags if not is_outside(tag)]
    return next((form for form in ("prefix", "suffix") if all(split_tag(tag, form) for tag in inside)), "bare")


def _bare_problem(rows: _Rows, declared: str | None) -> str:
    """Return why tags, not all of which have a letter, cannot be read as the types of entities; empty if they can."""
    inside = [tag for tag in rows.labels if not is_outside(tag)]
    lettered = [tag for tag in inside if split_tag(tag, "prefix") or split_tag(tag, "suffix")]
    odd = next((tag for tag in inside if tag not in lettered), inside[0] if inside else "O")
    part, row = next(((part, row) for part, row, tags in rows.tags if odd in tags), ("", 0))
    place = f"the tag {odd!r} (row {row} of {part})"
    if declared not in (None, "bare"):
        return f"{place} has no letter of {declared}"
    if len(inside) == len(rows.labels):
        return f"no word has the tag O, of words outside entities, but {place}; or take word-accuracy"
    if declared is None and lettered:
        return f"{place} has no letter, as {lettered[0]!r} has"
    stems = Counter(f"-{tag[1:]}" for tag in inside if is_letter(tag[0])) + Counter(
        f"{tag[:-1]}-" for tag in inside if is_letter(tag[-1])
    )
    if declared and len(lettered) == len(inside) and {"B", "I"} <= {tag[0].upper() for tag in inside}:
        return f"{place} has a letter for its place in the entity, so the tags are not bare"
    if declared is None and max(stems.values(), default=0) > 1:
        return f"{place} is as long as another that differs in its first or last letter; write letters as in B-PER"
    return ""


def _breach(rows: _Rows, scheme: str, form: str) -> str:
    """Return how many rows break the scheme, and where first; empty if none does."""
    words = [misplaced_tag(tags, scheme, form) for _, _, tags in rows.tags]
    places = [(word, *row) for word, row in zip(words, rows.tags, strict=True) if word is not None]
    if not places:
        return ""
    word, part, row, tags = places[0]
    first = f"{tags[word]!r} " + (f"after {tags[word - 1]!r}" if word else "at the beginning")
    return f"finds tags of no entity in {len(places):,} of {len(words):,} rows, first {first} in row {row} of {part}"


def _bleu(rows: _Rows) -> tuple[Metric, str]:
    import sacrebleu.metrics

    declared, notes = rows.task.tokenize, []
    references = rows.references
    share, best = _unspaced(references)
    if share > UNSPACED_SHARE and declared in (None, "13a", "intl", "none"):
        text = f"splits words at spaces, and {share:.0%} of the letters of the references are of scripts that need more"
        if declared is None:
            raise rows.error(f"bleu {text}; declare Task(tokenize={best!r}), or 'char', or '13a' if this is meant")
        notes.append(text)
    tokenize = declared or "13a"
    try:
        tokenizer = sacrebleu.metrics.BLEU(tokenize=tokenize).tokenizer
    except (Exception, SystemExit) as error:  # sacrebleu's tokenizers need packages and downloads of many kinds
        need = {"ja-mecab": "pip install 'sacrebleu[ja]'", "ko-mecab": "pip install 'sacrebleu[ko]'"}
        mend = need.get(tokenize, "pip install sentencepiece, and the network for its model")
        raise rows.error(f"tokenize={tokenize!r} needs {mend}; or declare tokenize='char' ({error})") from error
    short = [row for row, text in enumerate(references) if len(tokenizer(text.rstrip()).split()) < FEWEST_TOKENS]
    if short:
        text = f"counts four tokens in a row, and {len(short):,} of {len(references):,} test references have fewer"
        if 2 * len(short) > len(references):
            raise rows.error(f"bleu {text}, the first in row {short[0]}; take chrf, which counts characters")
        notes.append(text)
    return Metric("bleu", tokenize, f"by sacrebleu's tokenizer {tokenize}"), "; it ".join(notes)


def _unspaced(texts: Iterable[str]) -> tuple[float, str]:
    """Return the share of letters whose script parts words otherwise than by spaces, and a tokenizer for it."""
    letters = Counter(char for char in "".join(texts) if char.isalpha())
    scripts: Counter[str] = Counter()
    for char, count in letters.items():
        scripts[unicodedata.name(char, "?").split()[0]] += count
    unspaced = {script: scripts[script] for script in SPLITTERS if scripts[script]}
    total = sum(unspaced.values())
    best = next((SPLITTERS[script] for script, count in unspaced.items() if 5 * count > total), "char")
    return total / max(1, letters.total()), best


def _squad(rows: _Rows, name: str) -> tuple[Metric, str]:
    from harness.metrics.texts import normalize_answer  # which imports datasets

    references = [[text] if isinstance(text, str) else text for text in rows.references]
    emptied = [
        row for row, answers in enumerate(references) if any(answers) and not any(map(normalize_answer, answers))
    ]
    notes = []
    if emptied:
        count = f"{len(emptied):,} of {len(references):,}"
        text = f"ignores articles and punctuation, of which {count} test answers consist"
        if len(emptied) > EMPTIED_SHARE * len(references):
            raise rows.error(f"{name} {text}, the first in row {emptied[0]}; leave them out")
        notes.append(f"{text}, the first in row {emptied[0]}")
    if name == "token-f1" and _unspaced(text for answers in references for text in answers)[0] > UNSPACED_SHARE:
        notes.append("splits words at spaces, which the script of the answers does not have: it is nearly exact-match")
    return Metric(name), "; it ".join(notes)


def _rouge(rows: _Rows, name: str) -> tuple[Metric, str]:
    from harness.metrics.texts import WORD  # which imports datasets

    fewest = 2 if name == "rouge2" else 1
    short = [row for row, text in enumerate(rows.references) if len(WORD.findall(text.lower())) < fewest]
    if not short:
        return Metric(name), ""
    text = f"counts words of the letters a to z and digits, of which {len(short):,} of {len(rows.references):,} test "
    text += f"references have fewer than {fewest}, the first in row {short[0]}"
    if 2 * len(short) > len(rows.references):
        raise rows.error(f"{name} {text}; take chrf, which counts the characters of every script")
    return Metric(name), f"{text}: these rows score 0"


def _error_rate(rows: _Rows, name: str) -> tuple[Metric, str]:
    from harness.metrics.transcripts import READING, normalize_transcript  # which imports datasets

    if advice := missing_module("jiwer", '"shipbench[audio]"'):
        raise rows.error(f"{name} is counted by jiwer, and {advice}")
    if others := [row for row, text in enumerate(rows.references) if not isinstance(text, str)]:
        raise rows.error(f"{name} compares texts, and row {others[0]} of test has {rows.references[others[0]]!r}")
    if blank := [row for row, text in enumerate(rows.references) if not normalize_transcript(text)]:
        count = f"{len(blank):,} of {len(rows.references):,}"
        raise rows.error(f"{name} counts errors per word, and {count} test texts have none, first row {blank[0]}")
    if name == "wer" and _unspaced(rows.references)[0] > UNSPACED_SHARE:
        raise rows.error("wer splits words at spaces, which the script of the texts does not have; take cer")
    return Metric(name, None, READING), ""


def _retrieval(rows: _Rows, name: str) -> tuple[Metric, str]:
    queries, documents = (Counter(rows.parts["test"][column][:]) for column in rows.task.inputs[:2])
    if len(documents) < 2:
        raise rows.error(f"{name} chooses among the documents of the test rows, which are all the same")
    repeated = sum(count for count in queries.values() if count > 1)
    alike = Counter(" ".join(text.casefold().split()) for text in documents)
    twins = sum(count for count in alike.values() if count > 1)
    notes = {
        f"takes one document as correct, and {repeated:,} test rows share their query with others": repeated,
        f"takes a twin of the document as wrong, and {twins:,} documents differ in case or spaces only": twins,
    }
    return Metric(name), "; it ".join(note for note, count in notes.items() if count)


def _average_precision(rows: _Rows, name: str) -> tuple[Metric, str]:
    if advice := missing_module("pycocotools", '"shipbench[detection]"'):
        raise rows.error(f"{name} is pycocotools', and {advice}")
    if not used_labels(rows.parts["test"]):
        raise rows.error(f"{name} is of boxes, and no test image has one; ask for more test rows")
    return Metric(name), ""


SETTLE: dict[str, Callable[[_Rows], tuple[Metric, str]]] = {
    "f1": _f1,
    "off-by-one-accuracy": _off_by_one,
    "entity-f1": _entity_f1,
    "bleu": _bleu,
    **{name: partial(_squad, name=name) for name in ("exact-match", "token-f1")},
    **{name: partial(_rouge, name=name) for name in ("rouge1", "rouge2", "rougeL")},
    **{name: partial(_average_precision, name=name) for name in ("map", "map-50")},
    **{name: partial(_error_rate, name=name) for name in ("wer", "cer")},
    **{name: partial(_retrieval, name=name) for name in ("accuracy@1", "mrr")},
}
