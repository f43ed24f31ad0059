"""Imports point one way, as the tree in README.md is layered."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).resolve().parent.parent / "amtcli"

# From the top down; a part may import from layers below its own and from its own layer.
LAYERS = (
    ("__main__", "cli"),
    ("__init__", "api"),
    ("plan", "outputs", "report", "inputs"),
    ("training",),
    ("refinement",),
    ("engine", "live", "live_networks", "evaluation", "importing", "model_facts"),
    ("catalog", "model_folder", "model_writing", "model_config", "checkpoints", "sources"),
    ("datasets",),
    ("alignment",),
    ("reading", "devices", "formats", "note_tables", "files", "claims", "audio"),
    ("midi", "midi_reading", "tempo_map"),
    ("networks", "front_ends", "decoders"),
    ("tables", "windows"),
    ("notes", "errors"),
)
LAYER = {part: depth for depth, parts in enumerate(LAYERS) for part in parts}


def part_of(module):
    """The part of the package that a dotted module name belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def imports():
    """Pairs (importing part, imported part, where) within the package."""
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(PACKAGE).with_suffix("")
        importer = part_of(".".join(("amtcli", *relative.parts)))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module == "amtcli":
                names = [f"amtcli.{alias.name}" for alias in node.names]
            else:
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name == "amtcli" or name.startswith("amtcli."):
                    imported = part_of(name)
                    yield importer, "__init__" if imported == "__version__" else imported, path


def test_every_part_has_a_layer():
    parts = {part_of(f"amtcli.{path.stem}") for path in PACKAGE.iterdir() if path.stem[0] != "."}
    parts -= {"py", "__pycache__", "__init__"}  # py.typed, and what Python leaves behind
    assert parts <= set(LAYER), f"give {sorted(parts - set(LAYER))} a place in LAYERS"


def test_imports_point_downwards():
    found = list(imports())
    assert len(found) > 100
    version_only = ("__init__",)  # the version number lies in the package itself
    wrong = {
        f"{path.relative_to(PACKAGE)} ({importer}) imports {imported}"
        for importer, imported, path in found
        if imported not in version_only and LAYER[importer] > LAYER[imported]
    }
    assert not wrong


def test_parts_of_one_layer_do_not_import_one_another_in_a_circle():
    edges = {}
    for importer, imported, _ in imports():
        if importer != imported and imported != "__init__":
            edges.setdefault(importer, set()).add(imported)

    def reachable(start):
        seen, todo = set(), list(edges.get(start, ()))
        while todo:
            part = todo.pop()
            if part not in seen:
                seen.add(part)
                todo += edges.get(part, ())
        return seen

    assert [part for part in edges if part in reachable(part)] == []
