"""A payload's source text: ours passes, and no way to say an operator that is not listed does."""
from __future__ import annotations

import pytest
import torch

from sparkq.torchscript.code import CodeError, check_code
from sparkq.torchscript.operators import _ATEN, _OTHERS, LOADING, is_operator

MODULE = "__torch__.torch.fx.graph_module"
HEAD = f'''class GraphModule(Module):
  __parameters__ = []
  __buffers__ = ["weight", ]
  weight : Tensor
  ops : __torch__.torch.nn.modules.module.Module
  path : str
  __annotations__["0"] = {MODULE}.GraphModule
'''
FORWARD = f'''  def forward(self: {MODULE}.GraphModule,
    x: Tensor) -> Tensor:
'''
END = '''    return torch.add_(x, CONSTANTS.c0)
'''
SCHEMAS = torch._C._jit_get_all_schemas()


def checked(body: str, *, head: str = HEAD, after: str = "", module: str = MODULE) -> None:
    """Check a module whose forward begins with the lines of `body`."""
    lines = "".join(f"    {line}\n" for line in body.splitlines())
    check_code({module: f"{head}{FORWARD}{lines}{END}{after}"})


@pytest.mark.parametrize("body", [
    "", "_0 = torch.relu(x)", "_0 = getattr(self, \"0\")", "y = ops.quantized.conv2d_relu(x, self.packed, 0.5, 1)",
    "y = torch.add(torch.mul(x, 1.), torch.neg(x), alpha=2)", "y, z, = torch.chunk(x, 2, 1)",
    "_1 = (self.layer).forward1(x, )", "y = annotate(List[Tensor], [x])", "n = int(ops.prim.NumToTensor(torch.size(x, 0)))",
    "if torch.eq(self.path, \"zeros\"):\n  y = x\nelse:\n  y = torch.neg(x)", "y = torch.einsum(\"b i, b j -> b i j\", [x, x])",
    "ops0 = self.ops",
])
def test_what_torch_prints(body: str) -> None:
    """Every form that it writes payloads in."""
    checked(body)


def test_a_function_of_the_archive() -> None:
    """The recipe dynamic has two, called by another name."""
    function = "def f(x: Tensor) -> Tensor:\n  y = torch.abs(x)\n  return y\n"
    checked(f"_0 = {MODULE}.f\ny = _0(x, )", after=function)
    for other in ("torch.from_file", "__torch__.other.f", "_1", "getattr(torch, \"f\")"):
        with pytest.raises(CodeError):
            checked(f"_0 = {MODULE}.f\n_0 = {other}\ny = _0(x, )", after=function)
    with pytest.raises(CodeError, match="operator torch.from_file"):
        checked("", after="def f(x: Tensor) -> Tensor:\n  return torch.from_file(\"a\", True, 10)\n")


FORBIDDEN = {
    "by its name": 'torch.from_file("a", True, 10)',
    "on a string": '("a").from_file(True, 10)',
    "on a field": "(self.path).from_file(True, 10)",
    "on a field, plainly": "self.path.from_file(True, 10)",
    "in a namespace": 'ops.aten.from_file("a", True, 10)',
    "of a namespace's namespace": 'torch.ops.aten.save(x, "a")',
    "with a space": 'torch.from_file ("a", True, 10)',
    "apart": 'torch. from_file("a", True, 10)',
    "on two lines": '(torch\n.from_file("a", True, 10))',
    "before a line's end": 'torch.from_file\n("a", True, 10)',
    "as an argument": 'torch.relu(torch.from_file("a", True, 10))',
    "by another name": '_9 = torch.from_file\n_9("a", True, 10)',
    "by two names": '_8 = torch.from_file\n_9 = _8\n_9("a", True, 10)',
    "by the name of a function": 'int = torch.from_file\nint("a")',
    "by such a name with a type": 'int : Any = torch.from_file\nint("a")',
    "by the name of a namespace": "torch = ops\ntorch.relu(x)",
    "by such a name from a loop": "for ops in x:\n  y = ops.quantized.add(x, x)",
    "got as a member": 'getattr(torch, "from_file")("a")',
    "got and named": '_9 = getattr(torch, "from_file")\n_9("a", True, 10)',
    "from a list": '[torch.from_file][0]("a", True, 10)',
    "in parentheses": '(torch.from_file)("a", True, 10)',
    "as a task": 'fork(torch.from_file, "a", True, 10)',
    "as a C++ class": "__torch__.torch.classes.caffe2.Logger()",
    "in place": 'torch.from_file_("a", True, 10)',
    "after a comment": '# """\ntorch.relu(x)',
    "in other quotation marks": "torch.einsum('a', [x])",
    "after three quotation marks": 'y = """ " \ntorch.from_file("a")\n"""',
    "in a raw string": 'y = r"\\"',
    "after an escape": 'y = "\\"',
    "in a formatted string": 'y = f"{torch.from_file(1)}"',
    "by a context": "with self.path:\n  pass",
    "by a lambda": "f = lambda: x",
    "by an import": "import os",
    "by an operator's sign": "y = x @ x",
    "as a decorator": "@torch.relu",
    "as a warning": 'torch.warn("a")',
    "printing": 'print("a")',
    "in a wide parenthesis": 'torch.relu\uff08"a")',
}


@pytest.mark.parametrize("body", FORBIDDEN.values(), ids=FORBIDDEN)
def test_what_is_not_listed_cannot_be_said(body: str) -> None:
    """However it is said, in a method, in a function, and beside the methods."""
    with pytest.raises(CodeError):
        checked(body)
    lines = "".join(f"  {line}\n" for line in body.splitlines())
    with pytest.raises(CodeError):
        checked("", after=f"def f(x: Tensor) -> Tensor:\n{lines}  return x\n")
    with pytest.raises(CodeError):
        checked("", head=HEAD + lines)


@pytest.mark.parametrize("head", [
    HEAD.replace("(Module)", "(NamedTuple)"), HEAD.replace("(Module)", "(Enum)"),
    HEAD + "  def __init__(self) -> NoneType:\n    pass\n",
    HEAD + "  def from_file(self) -> NoneType:\n    pass\n", HEAD + '  x : Tensor = torch.from_file("a", True, 10)\n',
    HEAD + "  logger : __torch__.torch.classes.caffe2.Logger\n",
    HEAD + "  def __setstate__(self, state: int) -> NoneType:\n    self.path = state\n",
])
def test_other_classes_and_methods(head: str) -> None:
    """Modules with a forward pass are all that there is; only torch's own quantized layers have a state of their own."""
    with pytest.raises(CodeError):
        checked("", head=head)


@pytest.mark.parametrize("line", [
    'torch.from_file("a", True, 10)', "torch.relu(x)", "(self).forward(x, )", "int(x)", 'ops.quantized.add(x, x, 1., 0)',
])
def test_little_is_called_while_a_payload_loads(line: str) -> None:
    """Nothing but packing of weights, also in what bears the name of torch's own layers."""
    module = "__torch__.torch.ao.nn.quantized.modules.conv"
    state = "  def __setstate__(self, state: Tuple[Tensor, bool]) -> NoneType:\n    y = {}\n    return None\n"
    packing = "ops.quantized.conv2d_prepack((state)[0], None, [1, 1], [0, 0], [1, 1], 1)"
    checked("", head=HEAD + state.format(packing), module=module)
    with pytest.raises(CodeError):
        checked("", head=HEAD + state.format(line), module=module)


def test_a_module_in_the_place_of_cpp_classes() -> None:
    """torch would take the C++ class of that name."""
    with pytest.raises(CodeError):
        check_code({"__torch__.torch.classes.caffe2": "class Logger(Module):\n  __parameters__ = []\n"})


def test_listed_operators_take_no_file() -> None:
    """None has an argument that names a file or a process, or is a stream of a device."""
    listed = [schema for schema in SCHEMAS if is_operator(_as_called(schema.name))]
    assert len({schema.name for schema in listed}) > 400
    for schema in listed:
        assert not {"filename", "file", "group_name"} & {argument.name for argument in schema.arguments}, schema.name
        kinds = " ".join(str(argument.type) for argument in schema.arguments)
        assert not [word for word in ("Stream", "Storage", "Future", "Generator", "c10d") if word in kinds], schema.name


def test_listed_operators_are_torchs() -> None:
    """A misspelt one would refuse a payload some day."""
    known = {_as_called(schema.name) for schema in SCHEMAS}
    named = {f"torch.{name}" for name in _ATEN} | {f"ops.{name}" for name in _OTHERS} | {name for name in LOADING if "." in name}
    assert not named - known


@pytest.mark.parametrize("form", ["{}(x, )", "y = {}(x, )", "torch.relu({}(x, ))", "y = [{}(x)]", "if {}(x):\n  pass"])
def test_every_other_operator_of_torch_is_refused(form: str) -> None:
    """Whichever of its two thousand, whatever stands around it."""
    for name in sorted({_as_called(schema.name) for schema in SCHEMAS}):
        try:
            checked(form.format(name))
        except CodeError:
            assert not is_operator(name), name
        else:
            assert is_operator(name), name


def _as_called(name: str) -> str:
    namespace, _, operator = name.partition("::")
    return f"torch.{operator}" if namespace == "aten" else f"ops.{namespace}.{operator}"
