from __future__ import annotations

import pytest
import torch
from derivative_checks import N, assert_equal, derivatives, rows

pytest.importorskip("mace", exc_type=ImportError)


from onfly.potentials.fast.mace_modules import PolynomialEnvelope, Reshape
from onfly.potentials.mace_package import import_mace


def test_cutoff():
    import_mace()
    from mace.modules.radial import PolynomialCutoff

    reference = PolynomialCutoff(4.5, 5)
    x = torch.linspace(0.3, 4.9, N, dtype=torch.float64)[:, None].requires_grad_()
    assert_equal(derivatives(PolynomialEnvelope(reference), x), derivatives(reference, x))
    assert PolynomialEnvelope(reference)(x)[-1] == 0


def test_reshape():
    import_mace()
    from e3nn import o3
    from mace.modules.irreps_tools import reshape_irreps

    irreps = o3.Irreps("4x0e + 4x1o + 4x2e")
    x = rows(irreps.dim)
    assert torch.equal(Reshape(irreps)(x), reshape_irreps(irreps)(x))
