"""`lacuna.export_tuning` and `lacuna.import_tuning`: measured choices as a JSON file, which another machine can take."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, cast

from ...ir.advice import advice
from ...ir.program import InvalidProgram, Program
from ...ir.target import Target
from ...passes.costs.key_buckets import BUCKETS as KEY_BUCKETS
from ...passes.costs.key_buckets import RAGGED
from ..cache.index_entry import Key
from ..choices.choice_cache import MEASURED, Choice, Question, Subject, choice_of, keep, measured

FORMAT = "lacuna-tuning 1"
WHATS = ("tile shape", "configuration", "token order", "cut")
DTYPES = ("f32", "bf16", "f16", "f64")
FAMILIES = ("forward", "decode", "backward", "backward_queries")
BUCKETS = (*(bucket + each for bucket in KEY_BUCKETS for each in ("", RAGGED)), "long")
_WORDS = {"choice": WHATS, "dtype": DTYPES, "family": FAMILIES}
_VALUES = re.compile(r"([^ =]+=-?\d+( [^ =]+=-?\d+)*)?")  # of parameters, which stand for the bucket of an order


def export_tuning(path: str | os.PathLike[str]) -> int:
    """Write every choice that `lacuna.tune` measured and this cache holds to a JSON file, and return how many these are.

    A choice names its program, dtype, dimensions, target and bucket, so that it serves nothing else; it does not name the compiler,
    since the next machine has its own.

    Raises:
        OSError: the file cannot be written.
    """
    found = [_written(key, choice) for key, choice in measured()]
    distinct = {json.dumps(each, sort_keys=True): each for each in found}
    listed = [distinct[text] for text in sorted(distinct)]
    Path(path).write_text(json.dumps({"format": FORMAT, "choices": listed}, indent=1) + "\n", encoding="utf-8")
    return len(listed)


def import_tuning(path: str | os.PathLike[str]) -> int:
    """Take over the choices of a file that `export_tuning` wrote, from now on and in every process with this cache; return how many.

    Nothing is taken over unless all of the file is sound.

    Raises:
        ValueError: the file is not one that `export_tuning` wrote, or names tiles that no kernel can have.
        CacheUnwritable: the choices cannot be kept.
        OSError: the file cannot be read.
    """
    try:
        said: Any = json.loads(Path(path).read_text(encoding="utf-8"))
        if said["format"] != FORMAT:
            raise ValueError(f"its format is {said['format']!r}")
        taken = [_read(each) for each in said["choices"]]
    except (ValueError, KeyError, TypeError, InvalidProgram) as error:
        reason = f"{error}".splitlines()[0] if f"{error}" else type(error).__name__
        raise ValueError(
            advice(f"`{path}` holds no choices that can be taken over: {reason}", "a file that `lacuna.export_tuning` made")
        ) from error
    for question, choice in taken:
        keep(question, choice)
    _forget()
    return len(taken)


def _written(key: Key, choice: Choice) -> dict[str, object]:
    return {"program": key.subject, "target": key.target, **dict(key.options), "numbers": list(choice.numbers)}


def _read(said: Any) -> tuple[Question, Choice]:  # noqa: ANN401  (any JSON)
    """Raises ValueError, KeyError, TypeError or InvalidProgram where something is not as `_written` writes it."""
    from ..request.program_text import program_of

    words = {name: _word(said, name, allowed) for name, allowed in _WORDS.items()}
    backend, name = cast(str, said["target"]).split(" ")
    dim, value_dim = (int(each) for each in cast(str, said["dims"]).split(" "))
    choice = choice_of({"choice": said["numbers"], "origin": MEASURED})
    target, program = Target(backend, name), program_of(said["program"])
    if choice is None or not _possible(words["choice"], words["family"], program, choice):
        raise ValueError(f"no kernel can have the tiles {said['numbers']}")
    subject = Subject(program, target, words["dtype"], (dim, value_dim), words["family"], _bucket(said, words["choice"]))
    return Question(words["choice"], subject, _compiler(backend)), choice


def _bucket(said: Any, what: str) -> str:  # noqa: ANN401  (any JSON)
    if what not in ("token order", "cut"):
        return _word(said, "bucket", BUCKETS)
    if not _VALUES.fullmatch(said["bucket"]):
        raise ValueError(f"`bucket` is {said['bucket']!r}")
    return said["bucket"]


def _word(said: Any, name: str, allowed: tuple[str, ...]) -> str:  # noqa: ANN401  (any JSON)
    if said[name] not in allowed:
        raise ValueError(f"`{name}` is {said[name]!r}")
    return said[name]


def _possible(what: str, family: str, program: Program, choice: Choice) -> bool:
    from ..choices import configurations as chosen_configurations
    from ..choices import cuts
    from ..choices import shapes as chosen_shapes
    from ..cpp import token_orders as token_order

    if what == "token order":
        return token_order.possible(choice.numbers, program)
    if what == "cut":
        return cuts.possible(choice.numbers, program)
    if what == "configuration":
        return chosen_configurations.possible(choice.numbers)
    return chosen_shapes.possible(choice.numbers, family)


def _compiler(backend: str) -> str:
    """Of this machine."""
    from ..choices.configurations import compiler_identity
    from ..compilers.cpp_compiler import find_compiler

    if backend not in ("cpp", "triton"):
        raise ValueError(f"there is no backend {backend!r}")
    return find_compiler().identity if backend == "cpp" else compiler_identity()


def _forget() -> None:
    """What this process had chosen, and the calls it has prepared with that."""
    from ..calls.prepared_calls import forget_prepared
    from ..choices.configurations import forget_configurations
    from ..choices.cuts import forget_cuts
    from ..choices.shapes import forget_shapes
    from ..cpp.token_orders import forget_orders

    forget_shapes()
    forget_configurations()
    forget_cuts()
    forget_orders()
    forget_prepared()
