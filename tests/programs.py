"""What a traced program is made of."""

from jax.extend import core

PRODUCTS = ("dot_general", "conv_general_dilated")


def operations(jaxpr):
    """All of a program's operations, those of the programs inside it too."""
    for equation in jaxpr.eqns:
        yield equation
        for inner in core.jaxprs_in_params(equation.params):
            yield from operations(inner)


def products(program):
    """A program's matrix products and convolutions."""
    return [one for one in operations(program.jaxpr) if one.primitive.name in PRODUCTS]


def precisions(program):
    """How exactly they multiply; None is what JAX's own setting says."""
    return {one.params["precision"] for one in products(program)}
