"""Programs that would run code, each built from a good one by changing what its attack needs.

An attack has succeeded when its canary sings: a file that only the attacker's code makes.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import os
import random
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import nn
from torch._export.serde.schema import SCHEMA_VERSION

from rayxkd.status import Status
from rayxkd.teachers import TeacherError, predict
from tests.teachers.archives import (
    CONSTANTS,
    MODEL,
    SAMPLE,
    WEIGHTS,
    Archive,
    Canary,
    write_archive,
    write_two_faced,
)
from tests.teachers.folders import (
    PoolNet,
    assert_close,
    export,
    load,
    pixels_of,
    preprocessing,
    write_card,
)

Attack = Callable[[Archive, Canary], None]
ATTACKS: dict[str, Attack] = {}
IMAGES = 4


def attack(function: Attack) -> Attack:
    ATTACKS[function.__name__.replace("_", " ")] = function
    return function


@pytest.fixture
def canary(tmp_path: Path) -> Canary:
    return Canary(tmp_path / "canary")


@pytest.fixture
def archive(program_folder: Path) -> Archive:
    return Archive(program_folder / "model.pt2")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A teacher folder without weights, and the working directory, as an attacker would like it."""
    folder = tmp_path / "teacher"
    write_card(folder, library_name="torch.export", num_classes=5, pretrained_cfg=preprocessing(16))
    monkeypatch.chdir(folder)
    return folder


def ask(folder: Path, *, trust_code: bool = False) -> Any:
    return predict(load(folder, trust_code=trust_code), pixels_of(IMAGES))


def refusal(folder: Path) -> TeacherError:
    """Load, and run if it loads: an attack may wait for the forward pass."""
    with pytest.raises(TeacherError) as caught:
        ask(folder)
    return caught.value


# What the archive holds


def first_weight(archive: Archive) -> Any:
    return next(iter(json.loads(archive.entries[WEIGHTS])["config"].values()))


def add_constant(archive: Archive, path_name: str, content: bytes, **changes: Any) -> None:
    archive.entries[f"data/constants/{path_name}"] = content + b"\0" * (-len(content) % 4)
    entry = first_weight(archive) | {"path_name": path_name, **changes}
    archive.edit_json(CONSTANTS, lambda listed: listed["config"].update({"added": entry}))


@attack
def pickled_weights(archive: Archive, canary: Canary) -> None:
    archive.entries["data/weights/weight_0"] = canary.pickle
    archive.edit_json(
        WEIGHTS, lambda listed: next(iter(listed["config"].values())).update(use_pickle=True)
    )


@attack
def pickled_weights_by_another_truth(archive: Archive, canary: Canary) -> None:
    archive.entries["data/weights/weight_0"] = canary.pickle
    archive.edit_json(
        WEIGHTS, lambda listed: next(iter(listed["config"].values())).update(use_pickle="no")
    )


@attack
def pickled_constants(archive: Archive, canary: Canary) -> None:
    add_constant(archive, "tensor_0", canary.pickle, use_pickle=True)


@attack
def an_opaque_object(archive: Archive, canary: Canary) -> None:
    add_constant(archive, "opaque_obj_0", canary.pickle)


@attack
def an_opaque_object_under_a_plain_name(archive: Archive, canary: Canary) -> None:
    add_constant(archive, "opaque_obj_0", b"")
    archive.entries["data/constants/tensor_0"] = canary.pickle
    archive.edit_json(
        CONSTANTS, lambda c: c["config"]["added"].update(path_name="opaque_obj_0/../tensor_0")
    )
    del archive.entries["data/constants/opaque_obj_0"]


@attack
def a_custom_object(archive: Archive, canary: Canary) -> None:
    add_constant(archive, "custom_obj_0", canary.pickle)


@attack
def the_old_weights_file(archive: Archive, canary: Canary) -> None:
    archive.entries["data/weights/model.pt"] = canary.pickle


@attack
def the_old_constants_file(archive: Archive, canary: Canary) -> None:
    archive.entries["data/constants/model.pt"] = canary.pickle


@attack
def pickled_sample_inputs(archive: Archive, canary: Canary) -> None:
    archive.entries[SAMPLE] = canary.pickle


@attack
def pickled_sample_inputs_as_torch_saves_them(archive: Archive, canary: Canary) -> None:
    file = io.BytesIO()
    torch.save(((torch.zeros(2, 3, 16, 16),), {}), file)
    with zipfile.ZipFile(file) as inner:
        entries = [
            (name, canary.pickle if name.endswith("data.pkl") else inner.read(name))
            for name in inner.namelist()
        ]
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as inner:
        for name, content in entries:
            inner.writestr(name, content)
    archive.entries[SAMPLE] = file.getvalue()


@attack
def sample_inputs_that_hold_a_shape_expression(archive: Archive, canary: Canary) -> None:
    """torch rebuilds fake tensors from a pickled call that evaluates their sizes."""
    from torch._export.serde.serialize import _reconstruct_fake_tensor

    meta = first_weight(archive)["tensor_meta"] | {
        "sizes": [{"as_expr": {"expr_str": canary.code, "hint": None}}]
    }

    class Fake:
        def __reduce__(self) -> Any:
            return _reconstruct_fake_tensor, (json.dumps(meta).encode(), False)

    file = io.BytesIO()
    torch.save(((Fake(),), {}), file)
    archive.entries[SAMPLE] = file.getvalue()


@attack
def a_second_model(archive: Archive, canary: Canary) -> None:
    evil = copy.deepcopy(archive)
    with_code_in_the_name_of_an_input(evil, canary)
    archive.entries["models/other.json"] = json.dumps(evil.model).encode()
    archive.entries["data/sample_inputs/other.pt"] = archive.entries[SAMPLE]
    archive.entries["data/weights/other_weights_config.json"] = archive.entries[WEIGHTS]
    archive.entries["data/constants/other_constants_config.json"] = archive.entries[CONSTANTS]


@attack
def a_second_model_that_looks_like_a_list_of_weights(archive: Archive, canary: Canary) -> None:
    evil = copy.deepcopy(archive)
    with_code_in_the_name_of_an_input(evil, canary)
    name = "other_weights_config"
    archive.entries[f"models/{name}.json"] = json.dumps(evil.model | {"config": {}}).encode()
    archive.entries[f"data/sample_inputs/{name}.pt"] = archive.entries[SAMPLE]
    archive.entries[f"data/weights/{name}_weights_config.json"] = archive.entries[WEIGHTS]
    archive.entries[f"data/constants/{name}_constants_config.json"] = archive.entries[CONSTANTS]


@attack
def a_compiled_library(archive: Archive, canary: Canary) -> None:
    archive.entries["data/aotinductor/model/model.so"] = b"\x7fELF"
    archive.entries["data/aotinductor/model/model.cpp"] = b"int main() {}"


@attack
def compiled_weights(archive: Archive, canary: Canary) -> None:
    archive.entries["data/aotinductor/model/weights_config.json"] = b"{}"


@pytest.mark.parametrize(
    "name",
    [
        "../outside",
        "../../models/model.json",
        "models/../../model.json",
        "/etc/passwd",
        "models/a/b.json",
        "models/model.json/../x.json",
        "data/weights/weight_0\n",
        "data/weights/weight_0/",
        "data/weights/../constants/x",
        "data\\weights\\weight_9",
        "data/weights/weight_0.so",
        "data/constants/custom_obj_0",
        "data/constants/opaque_obj_0",
        "data/executorch/model.pte",
        "data/mtia/model",
        "xl_model_weights/w",
        "code/__torch__.py",
        "constants.pkl",
        "data.pkl",
        "version",
    ],
)
def test_entries_that_a_plain_program_lacks_are_refused(folder, archive, name):
    write_archive(folder / "model.pt2", [*archive.listed(), (name, b"1")])
    assert refusal(folder).status is Status.UNTRUSTED
    assert sorted(os.listdir(folder)) == ["config.json", "model.pt2"]  # noqa: PTH208


def test_extra_files_are_left_alone(folder, archive):
    listed = [*archive.listed(), ("extra/notes.txt", b"hello"), ("extra/model.json", b"{")]
    write_archive(folder / "model.pt2", listed)
    assert ask(folder).num_images == IMAGES


@pytest.mark.parametrize("again", [MODEL, "models/MODEL.json", "data/weights/WEIGHT_0"])
def test_two_entries_of_one_name_are_refused(folder, archive, again, recwarn):
    write_archive(folder / "model.pt2", [*archive.listed(), (again, b"{}")])
    assert refusal(folder).status is Status.UNTRUSTED


@pytest.mark.parametrize("top", ["", "a/b"])
def test_another_layout_is_refused(folder, archive, top):
    write_archive(folder / "model.pt2", archive.listed(), top)
    assert refusal(folder).status is Status.UNTRUSTED


def test_two_top_folders_are_refused(folder, archive):
    write_archive(
        folder / "model.pt2",
        [*((f"a/{n}", c) for n, c in archive.listed()), ("b/extra/x", b"")],
        top="",
    )
    assert refusal(folder).status is Status.UNTRUSTED


def test_the_format_of_older_versions_is_refused(folder, archive, canary):
    """It keeps its weights in a pickle."""
    write_archive(folder / "model.pt2", old_format(archive, canary), top="")
    assert refusal(folder).status is Status.UNTRUSTED
    assert not canary.sings


def old_format(archive: Archive, canary: Canary) -> list[tuple[str, bytes]]:
    return [
        ("version", ".".join(map(str, SCHEMA_VERSION)).encode()),
        ("serialized_exported_program.json", json.dumps(archive.model).encode()),
        ("serialized_state_dict.pt", canary.pickle),
        ("serialized_constants.pt", b""),
        ("serialized_example_inputs.pt", b""),
    ]


def under(top: str, entries: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
    return [(f"{top}/{name}", content) for name, content in entries]


@pytest.mark.parametrize("extra", [[], [("extra/x", b"")]])
def test_what_torch_sees_is_what_is_checked(folder, archive, canary, extra):
    """Python's reader finds a good program, torch's the one that runs code."""
    evil = copy.deepcopy(archive)
    with_code_in_the_name_of_an_input(evil, canary)
    write_two_faced(
        folder / "model.pt2",
        for_python=under("a", archive.listed()),
        for_torch=under("a", [*evil.listed(), *extra]),
    )
    assert refusal(folder).status in (Status.UNTRUSTED, Status.INVALID)
    assert not canary.sings


def test_what_torch_tries_next_is_checked_too(folder, archive, canary):
    """torch fails, and reads the same file with Python's reader in the old format."""
    archive.add_node("torch.ops.aten.relu.default", {"as_tensor": {"name": "no such value"}})
    write_two_faced(
        folder / "model.pt2",
        for_python=old_format(archive, canary),
        for_torch=under("a", archive.listed()),
    )
    assert refusal(folder).status in (Status.UNTRUSTED, Status.INVALID)
    assert not canary.sings


def test_a_compressed_archive_is_refused_before_it_is_unpacked(folder, archive):
    bomb = ("data/weights/weight_99", bytes(64 * 2**20))
    write_archive(folder / "model.pt2", [*archive.listed(), bomb], compression=zipfile.ZIP_DEFLATED)
    assert (folder / "model.pt2").stat().st_size < 2**20
    error = refusal(folder)
    assert error.status is Status.INVALID
    assert "compressed" in error.reason


# What the graph says


@attack
def with_code_in_the_name_of_an_input(archive: Archive, canary: Canary) -> None:
    """The name becomes a parameter of a generated function, here with a default value."""
    archive.replace_text("images", f"images={canary.code}")


@attack
def code_in_the_name_of_a_value(archive: Archive, canary: Canary) -> None:
    archive.replace_text("relu", f"relu; {canary.code}; relu")


@attack
def code_in_the_names_of_arguments(archive: Archive, canary: Canary) -> None:
    archive.call["forward_arg_names"] = [f"images={canary.code}"]


@attack
def code_in_the_names_of_keyword_arguments(archive: Archive, canary: Canary) -> None:
    spec = json.loads(archive.call["in_spec"])
    leaf = {"type": None, "context": None, "children_spec": []}
    keywords = {"context": json.dumps([f"a': {canary.code}, 'b"]), "children_spec": [leaf]}
    spec[1]["children_spec"][1].update(keywords)
    archive.call.update(in_spec=json.dumps(spec), forward_arg_names=["images", "more"])


def rename_weight(archive: Archive, name: str) -> None:
    archive.replace_text("head.weight", name)
    archive.edit_json(
        WEIGHTS, lambda listed: listed["config"].update({name: listed["config"].pop("head.weight")})
    )


@attack
def code_in_the_name_of_a_weight(archive: Archive, canary: Canary) -> None:
    rename_weight(archive, f'head.weight", {canary.code}) or ("')


@attack
def code_in_the_name_of_a_weight_in_its_list_only(archive: Archive, canary: Canary) -> None:
    archive.edit_json(
        WEIGHTS,
        lambda listed: listed["config"].update({f'"{canary.code}': first_weight(archive)}),
    )


GRAD_MODE = "torch.ops.higher_order.wrap_with_set_grad_enabled"


@attack
def code_in_the_keyword_of_a_call(archive: Archive, canary: Canary) -> None:
    archive.add_node(GRAD_MODE, {"as_bool": False}, names=(f"a={canary.code}, b",))


@attack
def code_in_the_name_of_a_part_of_the_graph(archive: Archive, canary: Canary) -> None:
    part = {
        "name": f'part", {canary.code}) or ("',
        "graph": copy.deepcopy(archive.graph) | {"nodes": [], "inputs": [], "outputs": []},
    }
    archive.add_node(GRAD_MODE, {"as_bool": False}, {"as_graph": part})


@attack
def code_inside_a_part_of_the_graph(archive: Archive, canary: Canary) -> None:
    inner = copy.deepcopy(archive)
    with_code_in_the_name_of_an_input(inner, canary)
    part = {"name": "part", "graph": inner.graph}
    archive.add_node(GRAD_MODE, {"as_bool": False}, {"as_graph": part})


@attack
def a_file_operator(archive: Archive, canary: Canary) -> None:
    archive.add_node(
        "torch.ops.aten.from_file.default",
        *from_file_arguments(canary),
        names=("filename", "shared", "size"),
    )


def from_file_arguments(canary: Canary) -> list[Any]:
    return [{"as_string": str(canary.path)}, {"as_bool": True}, {"as_int": 8}]


@attack
def a_file_operator_as_an_argument(archive: Archive, canary: Canary) -> None:
    function = {"as_operator": "torch.ops.aten.from_file.default"}
    archive.add_node(GRAD_MODE, {"as_bool": False}, function, *from_file_arguments(canary))


@attack
def a_file_operator_in_a_dictionary(archive: Archive, canary: Canary) -> None:
    function = {"as_string_to_argument": {"metadata": {"as_operator": "torch.os.mkdir"}}}
    archive.add_node(GRAD_MODE, {"as_bool": False}, function)


@attack
def a_file_operator_in_an_output(archive: Archive, canary: Canary) -> None:
    node = archive.graph["nodes"][0]
    node["outputs"] = [{"as_operator": "torch.ops.aten.save.default"}]


@attack
def a_function_as_an_argument(archive: Archive, canary: Canary) -> None:
    archive.add_node(
        GRAD_MODE,
        {"as_bool": False},
        {"as_operator": "torch.serialization.save"},
        {"as_int": 1},
        {"as_string": str(canary.path)},
    )


@pytest.mark.parametrize(
    "target",
    [
        "torch.hub.load",
        "torch.load",
        "torch.save",
        "torch.os.system",
        "torch.jit.load",
        "torch.ops.load_library",
        "torch.classes.load_library",
        "torch.serialization.os.system",
        "torch.ops.aten.from_file.default",
        "torch.ops.aten.from_file.out",
        "torch.ops.aten.from_file",
        "torch.ops.aten.save.default",
        "torch.ops.aten.load.default",
        "torch.ops.image.write_file.default",
        "torch.ops.image.read_file.default",
        "torch.ops.aten.relu.default.__globals__",
        "torch.ops.aten.relu.default\n",
        "torch.ops.higher_order.triton_kernel_wrapper_functional",
        "torch.ops.higher_order.invoke_subgraph",
        "torch.ops.prim.eval.default",
        "torch.autograd.grad_mode.set_grad_enabled",
        "torch.export.custom_ops._call_custom_autograd_function_in_pre_dispatch",
        "_operator.methodcaller",
        "_operator.attrgetter",
        "_operator.call",
        "_operator.setitem",
        "_operator.__builtins__",
        "math.__loader__.load_module",
        "#executorch:evil",
        "#triton:kernel",
        "os.system",
        "builtins.eval",
        "eval",
        "",
    ],
)
def test_operators_outside_the_plain_ones_are_refused(folder, archive, canary, target):
    archive.add_node(target, {"as_string": str(canary.path)})
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status is Status.UNTRUSTED
    assert not canary.sings


@pytest.mark.parametrize(
    "target",
    [
        "torch.ops.aten.__setattr__",
        "torch.ops.aten.__class__",
        "torch.ops.aten.relu.__init__",
        "torch.ops.aten.name",
        "torch.ops.aten.no_such_operator.default",
    ],
)
def test_what_is_no_operator_is_not_called(folder, archive, target):
    before = dict(vars(torch.ops.aten))
    archive.add_node(target, {"as_string": "added"}, {"as_int": 1})
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status in (Status.UNTRUSTED, Status.INVALID)
    assert before.items() <= vars(torch.ops.aten).items()
    assert "added" not in vars(torch.ops.aten)


@pytest.mark.parametrize(
    "expression",
    [
        "{code}",
        "Symbol('s77', positive={code})",
        "Integer(2) + ({code} and 1)",
        "().__class__.__base__.__subclasses__()",
        "s77.is_positive",
        "Symbol.mro()",
        "sympify('1')",
        "Add(*[1 for s0 in (1, 2)])",
        "lambda: 1",
        "s0 if True else s1",
        'Symbol("s77")',
        "Symbol(`s77`)",
        "Symbol(chr(65))",
        "s77; s78",
        "s77 @ s78",
        "s77[0]",
        "{{1: 2}}",
        "x := 1",
        "\\x5f",
        "\N{FULLWIDTH LATIN SMALL LETTER E}val(1)",
        "__import__('os')",
        "1e400",
        "0x10",
    ],
)
def test_shape_expressions_are_arithmetic_only(folder, archive, canary, expression):
    text = expression.format(code=canary.code)
    (old,) = {value["as_expr"]["expr_str"] for value in shapes(archive.model)}
    archive.replace_text(old, text)
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status is Status.UNTRUSTED
    assert not canary.sings


def shapes(content: Any) -> list[Any]:
    """Every symbolic shape below here."""
    children = content.values() if isinstance(content, dict) else content
    if isinstance(content, dict) and "as_expr" in content:
        return [content]
    if not isinstance(content, dict | list):
        return []
    return [shape for child in children for shape in shapes(child)]


@pytest.mark.parametrize("place", ["metadata", "expr_str", "target", "in_spec", "as_string"])
def test_no_place_hides_a_shape_expression(folder, archive, canary, place):
    meta = copy.deepcopy(next(iter(archive.graph["tensor_values"].values())))
    meta["sizes"] = [{"as_expr": {"expr_str": canary.code, "hint": None}}]
    archive.graph["tensor_values"][place] = meta
    archive.replace_text("relu", place)
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status is Status.UNTRUSTED
    assert not canary.sings


@attack
def code_in_the_name_of_a_symbol(archive: Archive, canary: Canary) -> None:
    archive.model["range_constraints"][canary.code] = {"min_val": 1, "max_val": 2}


@attack
def code_in_the_bound_of_a_symbol(archive: Archive, canary: Canary) -> None:
    for bounds in archive.model["range_constraints"].values():
        bounds["min_val"] = canary.code


@attack
def code_where_a_number_belongs(archive: Archive, canary: Canary) -> None:
    for shape in shapes(archive.model):
        shape["as_expr"]["hint"] = {"as_int": canary.code}


@attack
def code_in_the_size_of_a_weight(archive: Archive, canary: Canary) -> None:
    archive.edit_json(
        WEIGHTS,
        lambda listed: next(iter(listed["config"].values()))["tensor_meta"].update(
            sizes=[{"as_expr": {"expr_str": canary.code, "hint": None}}]
        ),
    )


@attack
def code_in_the_name_of_a_device(archive: Archive, canary: Canary) -> None:
    for meta in archive.graph["tensor_values"].values():
        meta["device"]["type"] = canary.code


@attack
def code_in_the_name_of_a_verifier(archive: Archive, canary: Canary) -> None:
    archive.model["verifiers"] = [canary.code]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", ["added", "conv", "head.weight"])
def test_custom_objects_are_not_found(folder, archive, name, capfd):
    thing = {"as_custom_obj": {"name": name, "class_fqn": "__torch__.Evil"}}
    archive.add_node(GRAD_MODE, {"as_bool": False}, thing)
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status in (Status.UNTRUSTED, Status.INVALID)


def outputs_of(archive: Archive, **changes: Any) -> None:
    spec = json.loads(archive.call["out_spec"])
    spec[1].update(changes)
    archive.call["out_spec"] = json.dumps(spec)


@pytest.mark.parametrize(
    "kind",
    [
        "collections.defaultdict",
        "collections.namedtuple",
        "collections.OrderedDict",
        "collections.deque",
        "torch.Size",
        "builtins.slice",
        "os.system",
        "",
        ["builtins.tuple"],
        {"builtins.tuple": 1},
        7,
    ],
)
def test_containers_of_other_kinds_are_refused(folder, archive, kind):
    outputs_of(archive, type=kind)
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status in (Status.UNTRUSTED, Status.INVALID)


def evil_module(canary: Canary, name: str) -> str:
    """A module in the working directory that sings when it is imported."""
    Path(f"{name}.py").write_text(canary.code)
    return name


@pytest.fixture
def importable(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(folder))


@pytest.mark.usefixtures("importable")
@pytest.mark.parametrize("place", ["top", "list", "leaf"])
def test_a_container_cannot_name_a_module_to_import(folder, archive, canary, place):
    name = evil_module(canary, f"evil_by_{place}")
    constant: Any = {"__enum__": True, "fqn": f"{name}:Kind", "name": "A"}
    context = json.dumps([constant] if place == "list" else constant)
    outputs_of(archive, **({"type": None} if place == "leaf" else {}), context=context)
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status in (Status.UNTRUSTED, Status.INVALID)
    assert not canary.sings
    assert name not in sys.modules


@pytest.mark.usefixtures("importable")
def test_a_default_dictionary_cannot_name_a_module_to_import(folder, archive, canary):
    name = evil_module(canary, "evil_by_default")
    factory = {"default_factory_module": name, "default_factory_name": "x", "dict_context": []}
    outputs_of(archive, type="collections.defaultdict", context=factory)
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status is Status.UNTRUSTED
    assert name not in sys.modules


@pytest.mark.parametrize("name", ATTACKS)
def test_attack(folder, archive, canary, name, capfd):
    ATTACKS[name](archive, canary)
    write_archive(folder / "model.pt2", archive.listed())
    error = refusal(folder)
    assert not canary.sings
    assert error.status is Status.UNTRUSTED
    assert "trust the repository with --trust-code" in error.reason
    assert sorted(os.listdir(folder)) == ["config.json", "model.pt2"]  # noqa: PTH208


REAL = [
    "pickled weights",
    "pickled constants",
    "an opaque object",
    "the old weights file",
    "pickled sample inputs",
    "with code in the name of an input",
    "code in the keyword of a call",
]


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("name", REAL)
def test_the_canary_sings_where_code_is_trusted(folder, archive, canary, name, capfd):
    """The attacks are attacks: torch itself runs them."""
    ATTACKS[name](archive, canary)
    write_archive(folder / "model.pt2", archive.listed())
    with pytest.raises(TeacherError):
        ask(folder, trust_code=True)
    assert canary.sings


@pytest.mark.parametrize(
    ("place", "where"),
    [
        ("guards_code", lambda model: model),
        ("torch_version", lambda model: model),
        *(
            (entry, lambda model: model["graph_module"]["graph"]["nodes"][1]["metadata"])
            for entry in ("nn_module_stack", "stack_trace", "source_fn_stack", "torch_fn")
        ),
    ],
)
def test_notes_for_people_are_kept_and_not_run(folder, archive, canary, place, where):
    text = f'File "x", line 1, in f\n  a\r{canary.code}\n{canary.code}\r\n'
    texts = {
        "guards_code": [f"L['images'].size()[0] == {canary.code}", canary.code],
        "nn_module_stack": f"a,b,{canary.code}".replace("', 'w'", "'"),
        "source_fn_stack": f"a,{canary.code}".replace(", ", ""),
        "torch_fn": f"{canary.code};{canary.code}",
        "stack_trace": text,
    }
    where(archive.model)[place] = texts.get(place, text)
    write_archive(folder / "model.pt2", archive.listed())
    assert ask(folder).num_images == IMAGES
    assert not canary.sings


def test_texts_are_quoted(folder, archive, canary):
    """A text argument that would end its quotes is a text for all that."""
    archive.add_node(
        "torch.ops.aten._print.default",
        {"as_string": f'\'); {canary.code}; (\'\n"""{canary.code}'},
        names=("s",),
    )
    write_archive(folder / "model.pt2", archive.listed())
    assert ask(folder).num_images == IMAGES
    assert not canary.sings


# What is no program at all


@pytest.mark.parametrize("entry", [MODEL, WEIGHTS, CONSTANTS])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"[[1, 2], 3]",
        b"{}",
        b'{"config": []}',
        b'{"config": {"a": 1}}',
        b'{"config": {"a": null}}',
        b'{"config": {"a": {"use_pickle": false, "path_name": ["weight_0"]}}}',
        b'{"graph_module": 7}',
        b'{"a":' * 50_000,
        b'{"a": 1' + b"0" * 9999 + b"}",
        b"\xff\xfe{\x00}\x00",
        b"\xef\xbb\xbf{}",
        b'"\\ud800"',
    ],
)
def test_descriptions_that_are_none_are_refused(folder, archive, entry, content, capfd):
    listed = [(name, content if name == entry else old) for name, old in archive.listed()]
    write_archive(folder / "model.pt2", listed)
    assert refusal(folder).status in (Status.INVALID, Status.UNTRUSTED)


@pytest.mark.parametrize(
    "spec", ["", "7", "[]", "[1]", "[1, []]", "[1, {}]", "[9, {}]", "[" * 9999]
)
def test_containers_that_are_none_are_refused(folder, archive, spec):
    archive.call["out_spec"] = spec
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status is Status.INVALID


@pytest.mark.parametrize("missing", [MODEL, WEIGHTS, CONSTANTS, SAMPLE, "archive_version"])
def test_missing_entries_are_invalid(folder, archive, missing):
    listed = [(name, content) for name, content in archive.listed() if name != missing]
    write_archive(folder / "model.pt2", listed)
    assert refusal(folder).status is Status.INVALID


def test_a_huge_weight_without_content_is_refused(folder, archive):
    """torch fills what an archive does not hold with zeros."""
    archive.entries["data/weights/weight_0"] = b""
    sizes = [{"as_int": 2**20}, {"as_int": 2**30}]
    archive.edit_json(
        WEIGHTS,
        lambda listed: next(iter(listed["config"].values()))["tensor_meta"].update(sizes=sizes),
    )
    write_archive(folder / "model.pt2", archive.listed())
    assert refusal(folder).status in (Status.INVALID, Status.OUT_OF_MEMORY)


def test_damage_is_refused_or_does_no_harm(folder, archive, program_folder, capfd):
    """Bytes changed anywhere in the file: it answers, or is refused, and nothing else is raised."""
    content = (program_folder / "model.pt2").read_bytes()
    dice = random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(dice.choice((1, 4, 40))):
            damaged[dice.randrange(len(damaged))] = dice.randrange(256)
        (folder / "model.pt2").write_bytes(damaged[: dice.choice((len(damaged), None))])
        with contextlib.suppress(TeacherError):
            ask(folder)


# Programs that must pass


class Branching(nn.Module):
    """Shape arithmetic, a constant, a loop over chunks, names with a hyphen."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleDict({"my-conv": nn.Conv2d(3, 8, 3), "lstm": nn.LSTM(8, 8)})
        self.register_buffer("scale", torch.ones(8), persistent=False)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Any) -> Any:
        maps = self.parts["my-conv"](images)
        rows_NBC = maps.flatten(2).permute(2, 0, 1) * self.scale * torch.tensor(0.5)
        states_BNC = self.parts["lstm"](rows_NBC[:4])[0].transpose(0, 1)
        halves = states_BNC.reshape(images.shape[0] * 2, 16).chunk(2, dim=1)
        features = torch.stack(halves).sum(0).view(-1, 2, 8).mean(1)
        return self.head(features), features


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "pooling and flatten": (PoolNet, 16),
    "branches": (Branching, 16),
    "resnet18": (lambda: torchvision.models.resnet18(num_classes=5), 32),
    "mobilenet_v3_small": (lambda: torchvision.models.mobilenet_v3_small(num_classes=5), 32),
    "shufflenet_v2_x0_5": (lambda: torchvision.models.shufflenet_v2_x0_5(num_classes=5), 32),
    "timm test_vit": (lambda: timm.create_model("test_vit", num_classes=5), 160),
    "timm test_convnext": (lambda: timm.create_model("test_convnext", num_classes=5), 64),
    "timm test_nfnet": (lambda: timm.create_model("test_nfnet", num_classes=5), 64),
}


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("dynamic", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_plain_programs_pass(tmp_path, name, dynamic):
    build, side = NETWORKS[name]
    torch.manual_seed(0)
    network = build().eval()
    card = {"num_classes": 5, "pretrained_cfg": preprocessing(side)}
    images = torch.randn(3, 3, side, side)
    teacher = load(export(network, tmp_path, images, dynamic=dynamic, **card))
    with torch.inference_mode():
        found, expected = teacher.forward(images), network(images)
    assert_close(found[0], expected[0] if isinstance(expected, tuple) else expected)


def test_decomposed_programs_pass(tmp_path, pool_net):
    """A program in torch's core operators, as other tools write it."""
    images = torch.randn(3, 3, 16, 16)
    shapes = ({0: torch.export.Dim("batch", min=1, max=64)},)
    program = torch.export.export(pool_net, (images,), dynamic_shapes=shapes)
    torch.export.save(program.run_decompositions(), tmp_path / "model.pt2")
    card = {"num_classes": 5, "pretrained_cfg": preprocessing(16)}
    teacher = load(write_card(tmp_path, library_name="torch.export", **card))
    with torch.inference_mode():
        assert_close(teacher.forward(images)[0], pool_net(images)[0])


@pytest.mark.parametrize("name", ["mobilenetv1_025_imagenet", "mobilenetv1_050_imagenet"])
def test_real_programs_pass(shared, name):
    assert load(shared / "zoo" / name).parameters > 400_000
