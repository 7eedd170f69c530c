"""Each in a process of its own: what is imported, no test can take back."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TRAINED = """
    import sys, torch
    from simulations.backends.deferred_compiler import defer_compiler

    if DEFERRED:
        defer_compiler()
    torch.manual_seed(1)
    model = torch.nn.Linear(4, 2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step():
        optimizer.zero_grad()
        model(torch.ones(3, 4)).square().sum().backward()
        optimizer.step()

    step()
"""


def printed(code: str, *, deferred: bool = True) -> list[str]:
    """What a fresh process prints, line by line, after a model was trained for a step."""
    program = textwrap.dedent(TRAINED).replace("DEFERRED", str(deferred)) + textwrap.dedent(code)
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def test_an_optimizer_steps_without_the_compiler_to_the_same_bits() -> None:
    code = """
        step()
        print("torch._dynamo.eval_frame" in sys.modules)
        print(torch.cat([one.detach().flatten() for one in model.parameters()]).tolist())
    """
    without, bits = printed(code)
    with_it, as_ever = printed(code, deferred=False)
    assert (without, with_it) == ("False", "True")
    assert bits == as_ever


@pytest.mark.parametrize(
    "use",
    [
        "print(torch.compile(lambda x: x + 1, backend='eager')(torch.zeros(1)).item())",
        "import torch._dynamo.eval_frame as part; print(float(part.__name__ in sys.modules))",
        "from torch._dynamo import OptimizedModule as part; print(float(part is not None))",
    ],
)
def test_whoever_uses_the_compiler_has_it_and_optimizers_go_on(use: str) -> None:
    code = f"""
        {use}
        step()
        optimizer.add_param_group({{"params": [torch.nn.Parameter(torch.ones(1))]}})
        import torch._dynamo
        print(torch._dynamo is sys.modules["torch._dynamo"], hasattr(torch._dynamo, "config"))
        print(type(torch._dynamo).__name__, len(optimizer.param_groups))
    """
    assert printed(code) == ["1.0", "True True", "module 2"]


def test_who_looks_at_all_modules_imports_nothing() -> None:
    code = """
        import importlib.util, inspect
        inspect.getmodule(step, "a file that no module has")
        print(importlib.util.find_spec("torch._dynamo").origin.endswith("__init__.py"))
        print("torch._dynamo.eval_frame" in sys.modules)
    """
    assert printed(code) == ["True", "False"]


def test_what_was_imported_before_is_left_alone() -> None:
    code = """
        defer_compiler()
        print(type(sys.modules["torch._dynamo"]).__name__)
    """
    assert printed(code, deferred=False) == ["module"]
