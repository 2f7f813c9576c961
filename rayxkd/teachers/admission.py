"""Which teachers of a repository the user wants at all: by licence, and by pinned SHA-256."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from rayxkd.errors import UserError
from rayxkd.status import Status
from rayxkd.storage import Storage
from rayxkd.teachers.card import CARD_FILE, RejectedCard, TeacherCard
from rayxkd.teachers.errors import TeacherError, one_line
from rayxkd.teachers.listing import check_local

# What a repository says of its own files, as `sha256sum` writes it.
SUMS_FILE = "SHA256SUMS"
_LARGEST_SUMS = 64 * 1024 * 1024
_LINE = re.compile(r"(?P<escaped>\\?)(?P<digest>[0-9a-fA-F]{64}) [ *](?P<path>.+)")


@dataclass(frozen=True)
class Pins:
    """SHA-256 digests that files must have.

    Attributes:
        source: where they were read, to be told.
        digests: by path: relative to the repository, or with the repository's name before it.
        complete: whether weights without a digest are refused.
        fault: why the digests could not be read: then nothing passes.
    """

    source: str
    digests: Mapping[str, str]
    complete: bool
    fault: str = ""

    @classmethod
    def parse(cls, source: str, text: str, *, complete: bool) -> Pins:
        """Read lines such as ``sha256sum`` writes them.

        Raises:
            UserError: a line is none.
        """
        digests: dict[str, str] = {}
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip() or line.startswith("#"):
                continue
            match = _LINE.fullmatch(line)
            if match is None:
                raise UserError(
                    f"line {number} of {source} is no line of sha256sum: write "
                    "'<64 hexadecimal digits>  folder/model.safetensors'"
                )
            path = match["path"]
            if match["escaped"]:
                path = path.replace("\\n", "\n").replace("\\\\", "\\")
            digests[path.removeprefix("./")] = match["digest"].lower()
        return cls(source, digests, complete)

    def applied(self, card: TeacherCard | RejectedCard, prefix: str) -> TeacherCard | RejectedCard:
        """A card that demands its pinned digest, or its rejection.

        Args:
            card: as the repository lists it.
            prefix: the repository's name, which may stand before paths.
        """
        if isinstance(card, RejectedCard):
            return card
        if self.fault:
            return rejected(card, self.fault)
        card_file = f"{card.folder}/{CARD_FILE}" if card.folder else CARD_FILE
        card_pin, pin = self._of(card_file, prefix), self._of(card.weights_file, prefix)
        if card_pin and card_pin != card.card_digest:
            return rejected(
                card,
                f"its {CARD_FILE} has the SHA-256 {card.card_digest}, that of {self.source} "
                f"is {card_pin}",
            )
        if self.complete and not pin:
            return rejected(card, f"its weights have no SHA-256 in {self.source}")
        return replace(card, pin=pin) if pin else card

    def _of(self, path: str, prefix: str) -> str:
        return self.digests.get(f"{prefix}/{path}") or self.digests.get(path, "")


def open_pins(address: str) -> Pins:
    """The file of ``--pins``: what is not in it is not loaded.

    Raises:
        UserError: it cannot be read, or is no output of ``sha256sum``.
    """
    try:
        return Pins.parse(address, Storage.at(address).read().decode(), complete=True)
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--pins {address} cannot be read: {error}") from error


def own_pins(storage: Storage) -> Pins | None:
    """What a repository's ``SHA256SUMS`` says, where it has one.

    One that cannot be read lets nothing pass: it is the repository's fault, not that of the scan.
    """
    source = storage.url_of(SUMS_FILE)
    try:
        if not storage.exists(SUMS_FILE):
            return None
        return Pins.parse(source, _read_sums(storage), complete=False)
    except (OSError, UnicodeDecodeError) as error:
        return Pins(source, {}, complete=True, fault=f"{source} cannot be read: {one_line(error)}")
    except (UserError, TeacherError) as error:
        return Pins(source, {}, complete=True, fault=one_line(error))


def _read_sums(storage: Storage) -> str:
    if storage.is_local:
        check_local(storage, storage.local_path(SUMS_FILE))
    size = int(storage.filesystem.info(storage.path(SUMS_FILE)).get("size") or 0)
    if size > _LARGEST_SUMS:
        raise UserError(f"{SUMS_FILE} has {size} bytes: at most {_LARGEST_SUMS} are read")
    return storage.read(SUMS_FILE).decode()


def with_license(
    card: TeacherCard | RejectedCard, allowed: Iterable[str]
) -> TeacherCard | RejectedCard:
    """A card if its licence is among the allowed ones, else its rejection.

    Args:
        card: as the repository lists it.
        allowed: SPDX names such as ``apache-2.0``, in letters of either case; none allows all.
    """
    names = {_plain(name): name for name in allowed}
    if isinstance(card, RejectedCard) or not names or _plain(card.license or "") in names:
        return card
    has = f"its license is '{card.license}'" if card.license else "its card names no license"
    return rejected(card, f"{has}: --license allows {' '.join(names.values())}")


def rejected(card: TeacherCard, reason: str) -> RejectedCard:
    """The row of a teacher that is not to be loaded."""
    return RejectedCard(
        card.teacher,
        card.repository,
        Status.UNTRUSTED,
        reason,
        card.weights_bytes,
        card.card_digest,
    )


def _plain(name: str) -> str:
    return "-".join(name.casefold().replace("_", "-").split())
