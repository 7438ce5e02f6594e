"""A mask that is never false where the given one is true: what no formula holds is taken to be anything.

For tiles that are too many to be told and listed: those of the cover are met, and the kernel evaluates the mask itself in each.
"""

from __future__ import annotations

from ...ir.expr import TRUE, Binary, Expr, Op, substitute
from .abstraction import Abstraction, Joint, abstracted
from .canonicalise import simplified


def covering(mask: Expr) -> Expr:
    """`mask` with every condition that joins both sides and is not affine replaced by true.

    Needs: no inner negations. Keeps: every attended pair.
    """
    joint = {atom: TRUE for atom in _atoms(mask) if _is_joint(atom)}
    return simplified(substitute(mask, dict[Expr, Expr](joint)))


def _atoms(mask: Expr) -> list[Expr]:
    """Conditions below `and` and `or`."""
    found: list[Expr] = []
    seen: set[Expr] = set()
    stack = [mask]
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        if isinstance(node, Binary) and node.op in (Op.AND, Op.OR):
            stack += (node.a, node.b)
        else:
            found.append(node)
    return found


def _is_joint(atom: Expr) -> bool:
    try:
        abstracted(atom, Abstraction(atom))
    except Joint:
        return True
    return False
