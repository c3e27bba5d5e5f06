"""Other factors, the same predictions: principal axes of the priors, factors left out, factors added."""

from __future__ import annotations

import pytest
import torch

from recsys_dist.families.mf.em.factor_map import FactorMap, PrincipalAxes, widening
from recsys_dist.families.mf.em.prior import Prior

K, ROWS = 4, 5000
"""More rows than are mapped at once."""


def random_prior(seed: int) -> Prior:
    rng = torch.Generator(device="cpu").manual_seed(seed)
    root_nn = torch.randn((K + 1, K + 1), generator=rng, dtype=torch.float64)
    return Prior(torch.randn(K + 1, generator=rng, dtype=torch.float64), root_nn @ root_nn.T)


def drawn(prior: Prior, seed: int) -> torch.Tensor:
    """Rows of a side: [R, n]."""
    rng = torch.Generator(device="cpu").manual_seed(seed)
    noise_Rn = torch.randn((ROWS, K + 1), generator=rng, dtype=torch.float64)
    return (prior.mean_n + noise_Rn @ torch.linalg.cholesky(prior.covariance_nn).T).float()


def scores(users_Rn: torch.Tensor, items_Rn: torch.Tensor) -> torch.Tensor:
    """p . q + b + c of the users and items in turn."""
    products_R = (users_Rn[:, :-1].double() * items_Rn[:, :-1].double()).sum(1)
    return products_R + users_Rn[:, -1].double() + items_Rn[:, -1].double()


@pytest.fixture
def sides() -> tuple[Prior, Prior, torch.Tensor, torch.Tensor]:
    users, items = random_prior(0), random_prior(1)
    return users, items, drawn(users, 2), drawn(items, 3)


def mapped(of_side: FactorMap, rows_Rn: torch.Tensor) -> torch.Tensor:
    return of_side.of_columns({"mean": rows_Rn}, of_side)["mean"]


def test_principal_axes_change_no_prediction_and_give_both_sides_the_same_diagonal_covariance(sides) -> None:
    users, items, users_Rn, items_Rn = sides
    axes = PrincipalAxes.of(users, items)

    of_users, of_items = axes.strongest(K)

    before, after = scores(users_Rn, items_Rn), scores(mapped(of_users, users_Rn), mapped(of_items, items_Rn))
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-4)
    for prior in (of_users.of_prior(users), of_items.of_prior(items)):
        torch.testing.assert_close(prior.covariance_nn[:-1, :-1], torch.diag(axes.scale_K))
    assert (axes.scale_K.diff() <= 0).all()


def test_a_factor_left_out_loses_only_what_users_and_items_have_in_common(sides) -> None:
    """Its mean effects go to the biases: what is lost is the product of the deviations from the prior means."""
    users, items, users_Rn, items_Rn = sides
    whole, part = (PrincipalAxes.of(users, items).strongest(number) for number in (K, K - 1))
    deviations = [
        mapped(of_side, rows_Rn)[:, -2].double() - of_side.of_prior(prior).mean_n[-2]
        for of_side, prior, rows_Rn in zip(whole, (users, items), (users_Rn, items_Rn), strict=True)
    ]

    lost = scores(users_Rn, items_Rn) - scores(mapped(part[0], users_Rn), mapped(part[1], items_Rn))

    torch.testing.assert_close(lost, deviations[0] * deviations[1], rtol=1e-3, atol=1e-3)
    assert lost.std() < scores(users_Rn, items_Rn).std()


def test_without_factors_biases_remain(sides) -> None:
    users, items, users_Rn, items_Rn = sides
    of_users, of_items = PrincipalAxes.of(users, items).strongest(0)

    assert mapped(of_users, users_Rn).shape == (ROWS, 1)
    error_R = scores(users_Rn, items_Rn) - scores(mapped(of_users, users_Rn), mapped(of_items, items_Rn))
    assert error_R.std() < scores(users_Rn, items_Rn).std()


def test_covariances_and_variances_follow_the_rows(sides) -> None:
    users, items, _, _ = sides
    of_users, _ = PrincipalAxes.of(users, items).strongest(2)
    row_T, column_T = torch.triu_indices(K + 1, K + 1)
    packed_RT = users.covariance_nn[row_T, column_T].float().expand(ROWS, -1)
    variance_Rn = torch.rand((ROWS, K + 1), generator=torch.Generator(device="cpu").manual_seed(4))

    changed = of_users.of_columns({"mean": variance_Rn, "covariance": packed_RT}, of_users)
    diagonal = of_users.of_columns({"mean": variance_Rn, "variance": variance_Rn}, of_users)

    row_T, column_T = torch.triu_indices(3, 3)
    expected_T = of_users.of_prior(users).covariance_nn[row_T, column_T].float()
    torch.testing.assert_close(changed["covariance"], expected_T.expand(ROWS, -1), rtol=1e-4, atol=1e-5)
    expected_m = (of_users.matrix_mn @ torch.diag(variance_Rn[7].double()) @ of_users.matrix_mn.T).diagonal()
    torch.testing.assert_close(diagonal["variance"][7], expected_m.float())


def test_the_bits_of_a_row_do_not_depend_on_the_rows_beside_it(sides) -> None:
    users, items, users_Rn, _ = sides
    of_users, _ = PrincipalAxes.of(users, items).strongest(3)

    assert torch.equal(mapped(of_users, users_Rn)[100:103], mapped(of_users, users_Rn[100:103]))


def test_wider_rows_hold_the_old_ones_and_zeros(sides) -> None:
    _, _, users_Rn, _ = sides

    wide_Rm = mapped(widening(K, K + 3, users_Rn.device), users_Rn)

    assert torch.equal(wide_Rm[:, :K], users_Rn[:, :K])
    assert torch.equal(wide_Rm[:, -1], users_Rn[:, -1])
    assert not wide_Rm[:, K:-1].any()
