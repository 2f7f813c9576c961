"""The model card of a student: what it is, what it learnt from, and how good it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

import rayxkd
from rayxkd.distill.students import StudentSpec

_CONFIDENCE = 0.95
_MOST_CLASSES_SHOWN = 20


@dataclass(frozen=True)
class TeacherUse:
    """A teacher that a student learnt from.

    Attributes:
        teacher: its name on the leaderboard.
        weight: its share, where there are several.
        license: as its card says.
        classes: K.
        transport_cost: on the leaderboard, where it is known.
    """

    teacher: str
    weight: float
    license: str | None
    classes: int | None = None
    transport_cost: float | None = None


@dataclass(frozen=True)
class Score:
    """How many images were classified correctly.

    Attributes:
        name: of the images (``test``), or of what is compared with.
        correct: images.
        images: all of them; at least one.
    """

    name: str
    correct: int
    images: int

    @property
    def accuracy(self) -> float:
        """Share of correct ones."""
        return self.correct / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's interval of the accuracy, at 95 %."""
        from scipy.stats import binomtest

        test = binomtest(self.correct, self.images)
        interval = test.proportion_ci(_CONFIDENCE, method="wilson")
        return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class StudentReport:
    """What a student's model card says.

    Attributes:
        title: of the card.
        spec: what the student was built from.
        parameters: how many numbers it has.
        label_names: its M classes.
        license: of the student, if it has one.
        teachers: whom it learnt from.
        data: addresses of image sets by what they were used for.
        objective: the loss, in words or as a formula.
        settings: by name.
        scores: its accuracies.
        compared_with: other ways to the same task, on the images of the last of ``scores``.
        finished: the day.
        onnx: whether there is a ``model.onnx``.
        pictures: files beside the card that are shown in it, such as the learning curves.
        version: of rayxkd.
    """

    title: str
    spec: StudentSpec
    parameters: int
    label_names: Sequence[str]
    license: str | None
    teachers: Sequence[TeacherUse]
    data: Mapping[str, str]
    objective: str
    settings: Mapping[str, object]
    scores: Sequence[Score]
    finished: date
    compared_with: Sequence[Score] = ()
    onnx: bool = False
    pictures: Sequence[str] = ()
    version: str = field(default=rayxkd.__version__)


def student_card_md(report: StudentReport) -> str:
    """Write the model card, the folder's ``README.md``.

    Names of classes, teachers and files are other people's text: they are shown as they are,
    never as Markdown or HTML.
    """
    sections = [
        f"# {_text(report.title)}",
        _summary(report),
        _accuracy(report),
        *(f"![{_text(name)}]({_link(name)})" for name in report.pictures),
        _teachers(report),
        _training(report),
        _loading(report),
        f"Written by rayxkd {_text(report.version)} on {report.finished.isoformat()}.",
    ]
    return "\n\n".join(section for section in sections if section) + "\n"


_HOW = {
    True: "It learnt from the teachers below, whose classes need not be its own.",
    False: "It learnt from labels alone.",
}


def _summary(report: StudentReport) -> str:
    channels, height, width = report.spec.preprocessing.input_size
    names = [_text(name) for name in report.label_names[:_MOST_CLASSES_SHOWN]]
    more = len(report.label_names) - len(names)
    if more:
        names.append(f"and {more} more, see `config.json`")
    return "\n".join(
        [
            f"A `{report.spec.name}` with {report.parameters:,} parameters that tells "
            f"{len(report.label_names)} classes apart in images of "
            f"{channels} x {height} x {width}. {_HOW[bool(report.teachers)]}",
            "",
            f"- Classes: {', '.join(names)}",
            f"- License: {_text(report.license or 'not given')}",
        ]
    )


def _accuracy(report: StudentReport) -> str:
    if not report.scores:
        return ""
    rows = [_score_row(score) for score in report.scores]
    parts = ["## Accuracy", _table(["images", "accuracy", "95 % interval", "of"], rows)]
    if report.compared_with:
        rows = [_score_row(score) for score in report.compared_with]
        last = _text(report.scores[-1].name)
        parts.append(f"Other ways to the same task, on the images of '{last}':")
        parts.append(_table(["way", "accuracy", "95 % interval", "of"], rows))
    parts.append(
        "The intervals are Wilson's: they say what other images of the same kind could change, not "
        "what another random seed of the training could."
    )
    return "\n\n".join(parts)


def _score_row(score: Score) -> list[str]:
    low, high = score.interval
    interval = f"{100 * low:.1f} to {100 * high:.1f} %"
    return [_text(score.name), f"{100 * score.accuracy:.1f} %", interval, f"{score.images:,}"]


def _teachers(report: StudentReport) -> str:
    if not report.teachers:
        return ""
    rows = [
        [
            _text(use.teacher),
            f"{use.weight:.3g}",
            "" if use.classes is None else f"{use.classes:,}",
            "" if use.transport_cost is None else f"{use.transport_cost:.4g}",
            _text(use.license or "not given"),
        ]
        for use in report.teachers
    ]
    head = ["teacher", "weight", "classes", "transport cost", "license"]
    return f"## Teachers\n\n{_table(head, rows)}"


def _training(report: StudentReport) -> str:
    lines = ["## Training", f"Objective: {_text(report.objective)}"]
    lines.append("\n".join(f"- {_text(use)}: {_code(at)}" for use, at in report.data.items()))
    rows = [[_text(name), _text(str(value))] for name, value in report.settings.items()]
    lines.append(_table(["setting", "value"], rows) if rows else "")
    return "\n\n".join(line for line in lines if line)


_AS_TEACHER = """\
from rayxkd.teachers import load_teacher, open_repositories
import torch

(repository,) = open_repositories(["."])  # the folder of this file
(card,) = repository.cards()
with repository.weights(card) as weights:
    student = load_teacher(card, weights, torch.device("cpu"))"""
_AS_PROGRAM = """\
import torch

images = torch.rand(1, {size})  # in [0, 1]
mean, std = torch.tensor({mean}), torch.tensor({std})
images = (images - mean.view(-1, 1, 1)) / std.view(-1, 1, 1)
logits = torch.export.load("model.pt2").module()(images)"""
_AS_ONNX = """\
import onnxruntime

session = onnxruntime.InferenceSession("model.onnx")
(logits,) = session.run(["logits"], {"images": images.numpy()})"""


def _loading(report: StudentReport) -> str:
    wanted = report.spec.preprocessing
    program = _AS_PROGRAM.format(
        size=", ".join(map(str, wanted.input_size)), mean=list(wanted.mean), std=list(wanted.std)
    )
    parts = [
        "## Use",
        "The student is a teacher folder: `--repository` of rayxkd takes it, for the next student. "
        "In Python:",
        _block(_AS_TEACHER),
        "Without rayxkd, on images that are scaled to its size:",
        _block(program),
    ]
    if report.onnx:
        parts.append(_block(_AS_ONNX))
    return "\n\n".join(parts)


def _block(code: str) -> str:
    return f"```python\n{code}\n```"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


# Also what GitHub makes of plain text: links of `www.` and `://`, mentions and mail with `@`.
# Underscores inside a word are plain.
_SPECIAL = re.compile(
    r"[\\`*\[\]<>|~&#$@]|(?<![^\W_])_|_(?![^\W_])|(?<=www)\.|:(?=//)|^[-+=]", re.IGNORECASE
)


def _text(text: str) -> str:
    """Someone's text as one line that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\g<0>", " ".join(text.split()))


def _code(text: str) -> str:
    """Someone's text as code, between more backticks than it has in a row."""
    text = " ".join(text.split())
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence} {text} {fence}" if "`" in text else f"`{text}`"


def _link(name: str) -> str:
    return f"<{name.translate({ord(c): f'%{ord(c):02X}' for c in '<> %'})}>"
