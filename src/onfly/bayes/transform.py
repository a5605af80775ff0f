"""What an optimizer or sampler of a chain is: two functions, as in optax and posteriors.

Each algorithm stands in a module of its own (`onfly.bayes.sghmc`, `onfly.bayes.adam`), whose
function ``transform`` binds its settings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from onfly.bayes.flat import FlatParams
from onfly.potentials import Params

__all__ = ["Transform"]


class Transform(NamedTuple):
    """One algorithm with its settings.

    Parameters
    ----------
    init
        ``init(params) -> state`` clones the parameters; ``state.params`` are `FlatParams`.
    step
        ``step(state, gradient, step_size, temperature) -> state``, with the gradient of the
        negative log posterior per label. It may reuse the buffers of the state it is given.
    """

    init: Callable[[Params], Any]
    step: Callable[[Any, FlatParams, float, float], Any]
