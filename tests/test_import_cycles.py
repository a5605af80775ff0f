"""No module of the package imports itself by way of others, not even inside a function."""

from __future__ import annotations

import ast
from pathlib import Path

import onfly

ROOT = Path(onfly.__file__).parent


def module_names(root):
    names = {}
    for path in root.rglob("*.py"):
        parts = path.relative_to(root.parent).with_suffix("").parts
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return names


def imports(path, names):
    """Yield the package's modules that a file imports; a package stands for its `__init__`."""
    tree = ast.parse(path.read_text())
    skipped = {
        id(node)
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for statement in branch.body
        for node in ast.walk(statement)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:  # for annotations only, not run
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                if inner in names:
                    yield inner
                elif node.module in names:
                    yield node.module


def cycles(graph):
    """Return the sets of modules that reach each other (Tarjan's strongly connected components)."""
    index, low, stack, found = {}, {}, [], []

    def visit(module):
        index[module] = low[module] = len(index)
        stack.append(module)
        for other in graph[module]:
            if other not in index:
                visit(other)
                low[module] = min(low[module], low[other])
            elif other in stack:
                low[module] = min(low[module], index[other])
        if low[module] == index[module]:
            component = set()
            while module not in component:
                component.add(stack.pop())
            if len(component) > 1 or module in graph[module]:
                found.append(sorted(component))

    for module in graph:
        if module not in index:
            visit(module)
    return sorted(found)


def graph_of(root):
    names = module_names(root)
    return {name: sorted(set(imports(path, names))) for name, path in names.items()}


def test_there_are_no_import_circles():
    assert cycles(graph_of(ROOT)) == []


def test_a_circle_would_show(tmp_path):
    package = tmp_path / "onfly"
    (package / "b").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "b/__init__.py").write_text("from onfly.b.inner import x\n")
    (package / "a.py").write_text("import os\nfrom onfly.b import x\n")
    (package / "b/inner.py").write_text("def f():\n    from onfly import a\n")
    (package / "c.py").write_text(
        "from typing import TYPE_CHECKING\nfrom onfly import d\n"
        "if TYPE_CHECKING:\n    from onfly.d import y\n"
    )
    (package / "d.py").write_text(
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from onfly.c import z\n"
    )
    assert cycles(graph_of(package)) == [["onfly.a", "onfly.b", "onfly.b.inner"]]
