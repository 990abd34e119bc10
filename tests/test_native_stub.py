"""The stub of the compiled module says what the module has: classes, members, parameter names and defaults."""

import ast
import inspect
from pathlib import Path

import pytest

from mmsrarec import _native

STUB = Path(__file__).parent.parent / "mmsrarec" / "_native.pyi"
PARTS = ast.parse(STUB.read_text("utf-8")).body
CLASSES = {node.name: node for node in PARTS if isinstance(node, ast.ClassDef)}
FUNCTIONS = {node.name: node for node in PARTS if isinstance(node, ast.FunctionDef)}


def methods(stub: ast.ClassDef) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in stub.body if isinstance(node, ast.FunctionDef)}


def parameters(function: ast.FunctionDef) -> list[tuple[str, str | None]]:
    """Names and defaults, without the object itself."""
    names = [argument.arg for argument in function.args.args]
    defaults = [None] * (len(names) - len(function.args.defaults)) + [
        ast.unparse(d) for d in function.args.defaults
    ]
    return [pair for pair in zip(names, defaults, strict=True) if pair[0] != "self"]


def compiled_signature(member: object) -> ast.FunctionDef:
    """Parse the signature that pybind11 writes as the first line of a docstring."""
    signature = (inspect.getdoc(member) or "").splitlines()[0]
    function = ast.parse(f"def {signature}: ...").body[0]
    assert isinstance(function, ast.FunctionDef)
    return function


def test_the_module_holds_what_the_stub_says():
    assert {name for name in vars(_native) if not name.startswith("_")} == set(CLASSES) | set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_functions_have_the_parameters_of_the_stub(name):
    assert parameters(compiled_signature(getattr(_native, name))) == parameters(FUNCTIONS[name])


@pytest.mark.parametrize("name", CLASSES)
def test_a_class_holds_the_members_of_the_stub(name):
    inherited = {"__init__", "__new__"}
    members = {
        member
        for member, value in vars(getattr(_native, name)).items()
        if not member.startswith("_")
        or (member.startswith("__") and "instancemethod" in type(value).__name__)
    }
    assert members - inherited == set(methods(CLASSES[name]))


@pytest.mark.parametrize(("owner", "method"), [(c, m) for c in CLASSES for m in methods(CLASSES[c])])
def test_a_method_takes_the_parameters_of_the_stub(owner, method):
    stub = methods(CLASSES[owner])[method]
    member = inspect.getattr_static(getattr(_native, owner), method)
    decorators = {ast.unparse(decorator) for decorator in stub.decorator_list}
    assert ("property" in decorators) == isinstance(member, property)
    if isinstance(member, property):
        return
    compiled = compiled_signature(getattr(getattr(_native, owner), method))
    assert ("staticmethod" in decorators) == ("self" not in [argument.arg for argument in compiled.args.args])
    assert parameters(compiled) == parameters(stub)
