"""A repository whose owner means harm, with a few good teachers among the rest.

Every item is a teacher folder and what its row must say. Three repositories hold them: a folder, a
zip archive and a tar archive.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from onnx import TensorProto, helper, numpy_helper
from safetensors.torch import save
from torch import Tensor, nn

from rayxkd.status import Status
from rayxkd.teachers.listing import LARGEST_CARD
from rayxkd.teachers.networks import create_network
from tests.teachers.archives import MODEL, WEIGHTS, Archive, Canary, write_archive
from tests.teachers.folders import PoolNet, export, preprocessing

CARD: dict[str, Any] = {
    "library_name": "rayxkd",
    "architecture": "small_resnet8",
    "num_classes": 3,
    "num_features": 16,
    "model_args": {"width": 4},
    "pretrained_cfg": preprocessing(16),
}
PROGRAM_CARD: dict[str, Any] = {
    "num_classes": 5,
    "num_features": 4,
    "pretrained_cfg": preprocessing(16),
}
PROGRAM = {"library_name": "torch.export", **PROGRAM_CARD}
_TERABYTES = 4 * 10**12


@dataclass(frozen=True)
class Item:
    """What the row of one teacher must say.

    Attributes:
        teacher: its name.
        status: its status.
        word: a part of its reason; empty for teachers that are ``ok``.
    """

    teacher: str
    status: Status
    word: str


@dataclass
class Hostile:
    """The repositories, as they are built.

    Attributes:
        root: the folder that holds them; beside them is what their links lead to.
        canary: sings when somebody ran code of theirs.
        items: what every teacher's row must say.
    """

    root: Path
    canary: Canary
    items: list[Item] = field(default_factory=list)

    @classmethod
    def build(cls, root: Path) -> Hostile:
        """Write all of it below a folder."""
        torch.manual_seed(0)
        hostile = cls(root, Canary(root / "canary"))
        hostile.outside.mkdir(parents=True)
        hostile._write(hostile.outside, card=CARD, weights=weights())
        for add in (
            *(_good, _links, _odd_files, _cards, _headers, _models, _pickles, _programs),
            *(_onnx, _transformers),
        ):
            add(hostile)
        _zip(hostile)
        _tar(hostile)
        return hostile

    @property
    def addresses(self) -> tuple[str, ...]:
        """What is given to ``--repository``."""
        return (
            str(self.zoo),
            f"zip://::{self.root}/packed.zip",
            f"tar://::{self.root}/packed.tar",
        )

    @property
    def zoo(self) -> Path:
        return self.root / "zoo"

    @property
    def outside(self) -> Path:
        """A folder that no repository holds."""
        return self.root / "outside"

    def add(
        self,
        name: str,
        status: Status,
        word: str = "",
        *,
        card: Any = CARD,
        shown: str = "",
        **files: bytes,
    ) -> Path:
        """A teacher of the folder; ``weights`` and ``program`` are its files' contents."""
        self.items.append(Item(f"zoo/{shown or name}", status, word))
        return self._write(self.zoo / name, card=card, **files)

    def _write(
        self,
        folder: Path,
        *,
        card: Any,
        weights: bytes | None = None,
        program: bytes | None = None,
    ) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        if card is not None:
            content = card if isinstance(card, bytes) else json.dumps(card).encode()
            (folder / "config.json").write_bytes(content)
        for file, content in (("model.safetensors", weights), ("model.pt2", program)):
            if content is not None:
                (folder / file).write_bytes(content)
        return folder


def weights(change: Callable[[dict[str, Tensor]], Any] = lambda _: None) -> bytes:
    """Weights of the network of ``CARD``, changed."""
    network = create_network("small_resnet8", CARD["num_classes"], width=4)
    tensors = {name: one.contiguous() for name, one in network.state_dict().items()}
    change(tensors)
    return save(tensors)


def with_header(change: Callable[[dict[str, Any]], Any]) -> bytes:
    """Valid weights with another header; the change edits it or returns its text."""
    whole = weights()
    end = 8 + int.from_bytes(whole[:8], "little")
    header = json.loads(whole[8:end])
    changed = change(header)
    text = changed if isinstance(changed, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + whole[end:]


def _good(hostile: Hostile) -> None:
    for number in range(3):
        hostile.add(f"good{number}", Status.OK, weights=weights())
    hostile.add("猫 und Käse", Status.OK, weights=weights())
    hostile.add("long" * 60, Status.OK, weights=weights())
    hostile.add("two\nlines", Status.OK, shown="two\\nlines", weights=weights())
    hostile.add("\x1b[31mred", Status.OK, shown="\\x1b[31mred", weights=weights())
    hostile.add("\u202edesrever", Status.OK, shown="\\u202edesrever", weights=weights())
    # Two folders that a careless escape would call the same.
    hostile.add("twin\\x07", Status.OK, shown="twin\\\\x07", weights=weights())
    hostile.add("twin\x07", Status.OK, shown="twin\\x07", weights=weights())
    inside = hostile.add("good_link", Status.OK)
    (inside / "model.safetensors").symlink_to("../good0/model.safetensors")
    bytes_name = os.fsdecode(b"caf\xe9")
    # safetensors itself opens no file of such a name.
    hostile.add(bytes_name, Status.INVALID, "caf", shown="caf\\udce9", weights=weights())


def _links(hostile: Hostile) -> None:
    out = hostile.outside / "model.safetensors"
    for name, target in (("absolute", str(out)), ("relative", "../../outside/model.safetensors")):
        folder = hostile.add(f"link_{name}", Status.UNTRUSTED, "a link out of the repository")
        (folder / "model.safetensors").symlink_to(target)
    folder = hostile.add("link_chain", Status.UNTRUSTED, "a link out of the repository")
    (folder / "step.safetensors").symlink_to(out)
    (folder / "model.safetensors").symlink_to("step.safetensors")
    folder = hostile.add("link_device", Status.UNTRUSTED, "a link out of the repository")
    (folder / "model.safetensors").symlink_to("/dev/zero")
    folder = hostile.add(
        "link_card", Status.UNTRUSTED, "'config.json' is a link out", card=None, weights=weights()
    )
    (folder / "config.json").symlink_to(hostile.outside / "config.json")
    folder = hostile.add("link_nowhere", Status.INVALID, "cannot be read")
    (folder / "model.safetensors").symlink_to("nothing.safetensors")
    folder = hostile.add("link_loop", Status.INVALID, "cannot be read")
    (folder / "model.safetensors").symlink_to("model.safetensors")
    folder = hostile.add("link_folder", Status.INVALID, "no regular file")
    (folder / "model.safetensors").symlink_to("../good0")


def _odd_files(hostile: Hostile) -> None:
    folder = hostile.add("pipe_weights", Status.INVALID, "no regular file")
    os.mkfifo(folder / "model.safetensors")
    folder = hostile.add("pipe_card", Status.INVALID, "no regular file", card=None)
    (folder / "model.safetensors").write_bytes(weights())
    os.mkfifo(folder / "config.json")
    folder = hostile.add(
        "card_is_a_folder", Status.INVALID, "no config.json", card=None, weights=weights()
    )
    (folder / "config.json").mkdir()
    hostile.add("no_card", Status.INVALID, "no config.json", card=None, weights=weights())
    hostile.add("no_weights", Status.INVALID, "no model.safetensors")
    if os.geteuid() != 0:  # who may read everything reads these too
        folder = hostile.add("unreadable_card", Status.INVALID, "cannot be read", weights=weights())
        (folder / "config.json").chmod(0)
        folder = hostile.add("unreadable", Status.INVALID, "cannot be read", weights=weights())
        (folder / "model.safetensors").chmod(0)
    hostile.add("pinned", Status.UNTRUSTED, "the pinned one is", weights=weights())
    (hostile.zoo / "SHA256SUMS").write_text(f"{'0' * 64}  pinned/model.safetensors\n")


def _cards(hostile: Hostile) -> None:
    pretrained = CARD["pretrained_cfg"]
    for name, word, card in (
        ("card_empty", "is not JSON", b""),
        ("card_binary", "is not JSON", bytes(range(256))),
        ("card_nested", "is not JSON", b"[" * 100_000),
        ("card_closed_nested", "is not JSON", b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
        ("card_huge_number", "is not JSON", b'{"num_classes": ' + b"9" * 10_000 + b"}"),
        ("card_half_character", "is not JSON", b'{"label_names": ["\\ud800"]}'),
        ("card_list", "not a JSON object", []),
        ("card_large", "bytes: at most", b" " * (LARGEST_CARD + 1)),
        ("billion_classes", "'num_classes'", CARD | {"num_classes": 10**9}),
        ("infinite_classes", "'num_classes'", CARD | {"num_classes": float("inf")}),
        ("negative_width", "'num_features'", CARD | {"num_features": -1}),
        ("too_few_names", "2 label_names for 3", CARD | {"label_names": ["a", "b"]}),
        ("names_no_list", "not a list", CARD | {"label_names": {"a": 1}}),
        (
            "huge_images",
            "asks for images",
            CARD | {"pretrained_cfg": pretrained | {"input_size": [3, 10**6, 10**6]}},
        ),
        (
            "tiny_crop",
            "crop_pct",
            CARD | {"pretrained_cfg": pretrained | {"crop_pct": 1e-9}},
        ),
        (
            "std_of_nan",
            "std",
            CARD | {"pretrained_cfg": pretrained | {"std": [float("nan")] * 3}},
        ),
    ):
        hostile.add(name, Status.INVALID, word, card=card, weights=weights())
    for name, architecture in (
        ("path_architecture", "../../outside/model"),
        ("local_architecture", f"local-dir:{hostile.outside}"),
        ("hub_architecture", "hf-hub:owner/name"),
    ):
        card = CARD | {"library_name": "timm", "architecture": architecture, "model_args": {}}
        hostile.add(name, Status.UNSUPPORTED, "unknown architecture", card=card, weights=weights())
    card = CARD | {"library_name": "../outside"}
    hostile.add("path_library", Status.UNSUPPORTED, "library_name", card=card, weights=weights())
    card = CARD | {
        "library_name": "timm",
        "architecture": "resnet18",
        "model_args": {"checkpoint_path": str(hostile.outside / "model.safetensors")},
    }
    hostile.add("path_argument", Status.UNTRUSTED, "checkpoint_path", card=card, weights=weights())
    card = CARD | {"auto_map": {"AutoModel": "modeling.Evil"}}
    folder = hostile.add("own_code", Status.UNTRUSTED, "auto_map", card=card, weights=weights())
    (folder / "modeling.py").write_text(hostile.canary.code)


def _headers(hostile: Hostile) -> None:
    whole = weights()
    first = "head.bias"

    def far(header: dict[str, Any]) -> None:
        header[first] = {
            "dtype": "F32",
            "shape": [_TERABYTES // 4],
            "data_offsets": [0, _TERABYTES],
        }

    def twice(header: dict[str, Any]) -> bytes:
        text = json.dumps(header)
        return (text[:-1] + f', "{first}": {json.dumps(header[first])}' + "}").encode()

    for name, word, content in (
        ("weights_empty", "is empty", b""),
        ("weights_short", "ends after 5 bytes", whole[:5]),
        ("weights_cut_header", "claims a header", whole[:100]),
        ("weights_cut", "it is truncated", whole[:-100]),
        ("weights_appended", "something appended", whole + bytes(100)),
        ("weights_flipped", "no JSON", whole[:9] + bytes([whole[9] ^ 128]) + whole[10:]),
        ("header_of_terabytes", "claims a header", struct.pack("<Q", 2**42) + whole[8:]),
        ("tensor_of_terabytes", "", with_header(far)),
        ("overlapping", "other tensors' bytes", with_header(lambda h: h.update(extra=h[first]))),
        ("header_nested", "no JSON", with_header(lambda _: b"[" * 100_000)),
        ("tensor_twice", "an entry twice", with_header(twice)),
        (
            "unknown_dtype",
            "unknown dtype",
            with_header(lambda header: header[first].update(dtype="F1024")),
        ),
        (
            "missing_tensor",
            "a gap before",
            with_header(lambda header: header.pop("stages.0.0.body.0.weight") and None),
        ),
    ):
        hostile.add(name, Status.INVALID, word or "data_offsets", weights=content)
    folder = hostile.add("hole_of_terabytes", Status.INVALID, "are read")
    with (folder / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", 2**41))
        file.truncate(2**42)


def _models(hostile: Hostile) -> None:
    def fill(value: float) -> Callable[[dict[str, Tensor]], Any]:
        return lambda tensors: tensors["head.weight"].fill_(value)

    hostile.add("nan_weights", Status.INVALID, "holds NaN", weights=weights(fill(float("nan"))))
    hostile.add("inf_weights", Status.INVALID, "or infinity", weights=weights(fill(float("inf"))))
    hostile.add(
        "overflowing", Status.INVALID, "predictions are not finite", weights=weights(fill(3e38))
    )
    hostile.add(
        "no_such_tensor",
        Status.INVALID,
        "'stem.0.weight' is missing",
        weights=weights(lambda tensors: tensors.pop("stem.0.weight")),
    )
    for name, word, changes in (
        ("wrong_classes", "'head.weight' is of shape", {"num_classes": 7}),
        ("wrong_width", "its card says num_features 512", {"num_features": 512}),
        ("wrong_argument", "unknown network argument", {"model_args": {"colour": 1}}),
        ("million_classes", "asks for a small_resnet8", {"num_classes": 10**6, "model_args": {}}),
        (
            "other_channels",
            "channels",
            {"pretrained_cfg": preprocessing(16, channels=1)},
        ),
        (
            "trillion_parameters",
            "asks for a vit_tiny_patch16_224",
            {
                "library_name": "timm",
                "architecture": "vit_tiny_patch16_224",
                "model_args": {"embed_dim": 10**6, "num_heads": 1},
            },
        ),
        (
            "endless_layers",
            "asks for a vit_tiny_patch16_224",
            {
                "library_name": "timm",
                "architecture": "vit_tiny_patch16_224",
                "model_args": {"depth": 10**9},
            },
        ),
    ):
        content = weights()
        hostile.add(name, Status.INVALID, word, card=CARD | changes, weights=content)


def _before(content: Any, file: Path) -> None:
    """Save in the format that torch had before 1.6."""
    torch.save(content, file, _use_new_zipfile_serialization=False)


def _pickles(hostile: Hostile) -> None:
    pickled = hostile.canary.pickle
    for file in ("pytorch_model.bin", "model.pth", "weights.pkl"):
        folder = hostile.add(f"pickle_{file}", Status.UNTRUSTED, "is a pickle")
        (folder / file).write_bytes(pickled)
    for name, write, word in (
        ("pickled_network", lambda file: torch.save(nn.Flatten(), file), "asks for torch.nn"),
        ("pickled_command", lambda file: torch.save(hostile.canary.object, file), "asks for"),
        ("pickled_before", lambda file: _before(hostile.canary.object, file), "asks for"),
    ):
        write(hostile.add(name, Status.UNTRUSTED, word) / "best.pth")
    for name, state, word in (
        ("repeated_number", {"a": torch.zeros(1).expand(2**38)}, "declares 'a' of"),
        ("optimizer", {"lr": 0.1, "a": torch.zeros(2)}, "'lr', which is no tensor"),
        ("other_network", {"a": torch.zeros(2)}, "'stem.0.weight' is missing"),
    ):
        torch.save(state, hostile.add(name, Status.INVALID, word) / "pytorch_model.bin")
    hostile.add("pickle_as_safetensors", Status.INVALID, "claims a header", weights=pickled)
    script = torch.jit.script(nn.Flatten())  # type: ignore[no-untyped-call]
    folder = hostile.add(
        "torchscript",
        Status.UNTRUSTED,
        "--trust-code",
        card=PROGRAM | {"library_name": "torchscript"},
    )
    torch.jit.save(script, folder / "model.pt")  # type: ignore[no-untyped-call]


def _programs(hostile: Hostile) -> None:
    example = torch.zeros(2, 3, 16, 16)
    folder = export(PoolNet(), hostile.zoo / "good_program", example, **PROGRAM_CARD)
    hostile.items.append(Item("zoo/good_program", Status.OK, ""))
    program = folder / "model.pt2"

    def add(name: str, status: Status, word: str, change: Callable[[Archive], Any]) -> None:
        archive = Archive(program)
        change(archive)
        target = hostile.add(name, status, word, card=PROGRAM)
        write_archive(target / "model.pt2", archive.listed())

    def pickled(content: Any) -> None:
        for entry in content["config"].values():
            entry["use_pickle"] = True

    add("program_operator", Status.UNTRUSTED, "it calls", lambda it: it.add_node("torch.ops.x.y"))
    add("program_eval", Status.UNTRUSTED, "it calls", lambda it: it.add_node("builtins.eval"))
    add(
        "program_pickles",
        Status.UNTRUSTED,
        "pickled tensors",
        lambda it: it.edit_json(WEIGHTS, pickled),
    )
    add(
        "program_sample",
        Status.UNTRUSTED,
        "sample inputs",
        lambda it: it.entries.update({"data/sample_inputs/model.pt": hostile.canary.pickle}),
    )
    add(
        "program_library",
        Status.UNTRUSTED,
        "it holds",
        lambda it: it.entries.update({"data/aotinductor/model/evil.so": b"\x7fELF"}),
    )
    add(
        "program_path",
        Status.UNTRUSTED,
        "it holds",
        lambda it: it.entries.update({"../../outside/evil": b"1"}),
    )
    _whole_programs(hostile, program)
    for name, changes, word in (
        ("program_classes", {"num_classes": 9}, "its card says 9 classes"),
        ("program_width", {"num_features": 99}, "its card says num_features 99"),
        ("program_channels", {"pretrained_cfg": preprocessing(16, 1)}, "forward pass"),
    ):
        hostile.add(
            name, Status.INVALID, word, card=PROGRAM | changes, program=program.read_bytes()
        )
    network = PoolNet()
    with torch.no_grad():
        network.head.weight[0] = float("nan")
    export(network, hostile.zoo / "program_nan", example, **PROGRAM_CARD)
    hostile.items.append(Item("zoo/program_nan", Status.INVALID, "'head.weight' holds NaN"))


def _whole_programs(hostile: Hostile, program: Path) -> None:
    """Archives that are wrong as a whole."""
    listed = Archive(program).listed()
    folder = hostile.add("program_bomb", Status.INVALID, "compressed archive", card=PROGRAM)
    bomb = [*listed, ("extra/zeros", bytes(64 * 2**20))]
    write_archive(folder / "model.pt2", bomb, compression=zipfile.ZIP_DEFLATED)
    folder = hostile.add("program_twice", Status.UNTRUSTED, "of the same name", card=PROGRAM)
    model = dict(listed)[MODEL]
    write_archive(folder / "model.pt2", [*listed, (MODEL.upper(), model)])
    hostile.add(
        "program_pickle", Status.INVALID, "no torch.export", card=PROGRAM, program=b"\x80\x02."
    )
    cut = program.read_bytes()[:-200]
    hostile.add("program_cut", Status.UNTRUSTED, "it holds", card=PROGRAM, program=cut)


def _onnx(hostile: Hostile) -> None:
    card = PROGRAM | {"library_name": "onnx"}
    image = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])
    logits = helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])
    outside = TensorProto(name="w", data_type=TensorProto.FLOAT, dims=[5])
    outside.data_location = TensorProto.EXTERNAL
    outside.external_data.add(key="location", value="../../outside/model.safetensors")
    code = helper.make_node("Run", ["x"], ["y"], domain="evil.domain")
    endless = helper.make_node(
        "ConstantOfShape",
        ["size"],
        ["y"],
        value=numpy_helper.from_array(np.zeros(1, np.float32)),
    )
    size = numpy_helper.from_array(np.array([2**40, 5]), "size")
    for name, status, word, node, stored in (
        ("onnx_operator", Status.UNTRUSTED, "operators of 'evil.domain'", code, []),
        ("onnx_outside", Status.UNSUPPORTED, "external data", code, [outside]),
        ("onnx_terabytes", Status.OUT_OF_MEMORY, "more memory", endless, [size]),
    ):
        graph = helper.make_graph([node], "g", [image], [logits], initializer=stored)
        domains = [helper.make_opsetid("", 18), helper.make_opsetid(node.domain or "", 1)]
        model = helper.make_model(graph, opset_imports=domains[: 1 + bool(node.domain)])
        folder = hostile.add(name, status, word, card=card)
        (folder / "model.onnx").write_bytes(model.SerializeToString())
    (hostile.add("onnx_text", Status.INVALID, "", card=card) / "model.onnx").write_text("text")


def _transformers(hostile: Hostile) -> None:
    card = {
        "architectures": ["ViTForImageClassification"],
        "model_type": "vit",
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "id2label": {"0": "a", "1": "b", "2": "c"},
    }
    processor = json.dumps({"image_processor_type": "ViTImageProcessor"})
    for name, status, word, changes in (
        (
            "code_of_transformers",
            Status.UNTRUSTED,
            "auto_map",
            {"auto_map": {"AutoModel": "code.Model"}},
        ),
        ("own_class", Status.UNSUPPORTED, "no image classifier", {"architectures": ["os.system"]}),
        ("huge_width", Status.INVALID, "asks for a ViT", {"hidden_size": 2**20}),
        ("endless_blocks", Status.INVALID, "asks for a ViT", {"num_hidden_layers": 10**9}),
        ("own_kernel", Status.INVALID, "is missing", {"attn_implementation": "evil/kernel"}),
    ):
        folder = hostile.add(name, status, word, card=card | changes, weights=weights())
        (folder / "preprocessor_config.json").write_text(processor)


def _zip(hostile: Hostile) -> None:
    """Members as no folder could have them. What a zip says of sizes is in its directory."""
    card, tensors = json.dumps(CARD).encode(), weights()
    path = hostile.root / "packed.zip"
    said: dict[str, tuple[int, ...]] = {}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:

        def add(name: str, status: Status, word: str, content: bytes = tensors) -> None:
            shown = f"zip://::{path}/{name.lstrip('/')}"
            hostile.items.append(Item(shown, status, word))
            file.writestr(f"{name}/config.json", card)
            file.writestr(f"{name}/model.safetensors", content)

        add("good", Status.OK, "")
        add("../escaped", Status.UNTRUSTED, "a path out")
        add("/absolute", Status.UNTRUSTED, "a path out")
        add("a/../../climbing", Status.UNTRUSTED, "a path out")
        add("bomb", Status.UNTRUSTED, "zip bombs", bytes(64 * 2**20))
        add("claims_terabytes", Status.UNTRUSTED, "zip bombs")
        add("claims_less", Status.INVALID, "cannot be read", bytes(64 * 2**20))
        add("twice", Status.UNTRUSTED, "2 times")
        file.writestr("twice/config.json", card)
        link = zipfile.ZipInfo("link/model.safetensors")
        link.external_attr = 0o120777 << 16
        file.writestr("link/config.json", card)
        file.writestr(link, str(hostile.outside / "model.safetensors"))
        hostile.items.append(Item(f"zip://::{path}/link", Status.INVALID, "claims a header"))
        said |= {"claims_terabytes": (2**42,), "claims_less": (1000,)}
        for entry in file.infolist():
            folder, _, name = entry.filename.partition("/")
            if name == "model.safetensors" and folder in said:
                (entry.file_size,) = said[folder]


def _tar(hostile: Hostile) -> None:
    card, tensors = json.dumps(CARD).encode(), weights()
    path = hostile.root / "packed.tar"
    with tarfile.open(path, "w") as file:

        def put(
            name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, to: str = ""
        ) -> None:
            member = tarfile.TarInfo(name)
            member.type, member.linkname, member.size = kind, to, len(content)
            file.addfile(member, io.BytesIO(content))

        def add(name: str, status: Status, word: str) -> None:
            hostile.items.append(Item(f"tar://::{path}/{name.lstrip('/')}", status, word))
            put(f"{name}/config.json", card)

        add("good", Status.OK, "")
        put("good/model.safetensors", tensors)
        add("../escaped", Status.UNTRUSTED, "a path out")
        put("../escaped/model.safetensors", tensors)
        add("link", Status.UNTRUSTED, "a link out of the archive")
        put("link/model.safetensors", kind=tarfile.SYMTYPE, to="../../outside/model.safetensors")
        add("hard_link", Status.UNTRUSTED, "a link out of the archive")
        put("hard_link/model.safetensors", kind=tarfile.LNKTYPE, to="/etc/passwd")
        add("pipe", Status.INVALID, "cannot be read")
        put("pipe/model.safetensors", kind=tarfile.FIFOTYPE)
        add("device", Status.INVALID, "cannot be read")
        put("device/model.safetensors", kind=tarfile.CHRTYPE)
        add("twice", Status.UNTRUSTED, "2 times")
        put("twice/model.safetensors", tensors)
        put("twice/model.safetensors", tensors)


def everything_below(root: Path) -> set[str]:
    """Every path below a folder, to see whether something was written."""
    return {str(path) for path in root.rglob("*")}


def remove(root: Path) -> None:
    """Delete a hostile repository, whatever its names are."""
    shutil.rmtree(root, ignore_errors=True)
