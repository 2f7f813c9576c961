"""The common space: the feature without network, networks, and the projection."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rayxkd.data import EncodedImages
from rayxkd.errors import UserError
from rayxkd.sketches.space import DIMENSIONS, Projection, open_space
from rayxkd.sketches.thumbnail import WIDTH, thumbnail_features_ND
from tests.data.builders import encoded_image


def images(count: int) -> EncodedImages:
    return EncodedImages.of([encoded_image(seed) for seed in range(count)])


def test_thumbnails_do_not_depend_on_their_neighbours() -> None:
    together = thumbnail_features_ND(images(5))
    assert together.shape == (5, WIDTH)
    assert together.dtype == np.float32
    alone = thumbnail_features_ND(EncodedImages.of([encoded_image(3)]))
    np.testing.assert_allclose(together[3], alone[0], rtol=1e-6)
    assert np.isfinite(together).all()
    assert np.linalg.norm(together[0] - together[1]) > 1


def test_thumbnails_of_nothing() -> None:
    assert thumbnail_features_ND(EncodedImages.of([])).shape == (0, WIDTH)


def test_a_projection_whitens() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 40)) * np.linspace(1, 3, 40) + 7
    projection = Projection.fitted(features)
    coordinates = (features - projection.mean_F) @ projection.axes_FD
    covariance = np.cov(coordinates.T, bias=True)
    assert covariance.shape == (DIMENSIONS, DIMENSIONS)
    np.testing.assert_allclose(covariance - np.diag(np.diag(covariance)), 0, atol=1e-9)
    assert 0.8 < np.diag(covariance).min() <= np.diag(covariance).max() < 1
    places = projection.places_ND(features)
    np.testing.assert_allclose(np.linalg.norm(places, axis=1), 1)


def test_fewer_features_than_dimensions() -> None:
    features = np.random.default_rng(1).normal(size=(50, 3))
    assert Projection.fitted(features).axes_FD.shape == (3, 3)


def test_images_that_are_all_the_same_make_no_space() -> None:
    with pytest.raises(UserError, match="all the same"):
        Projection.fitted(np.ones((10, 4)))


def test_another_number_of_features_is_refused() -> None:
    projection = Projection.fitted(np.random.default_rng(2).normal(size=(50, 4)))
    with pytest.raises(UserError, match="has 4 features, the images 5"):
        projection.places_ND(np.ones((2, 5)))


def test_a_teacher_as_the_space(trained_digits: Path) -> None:
    folder = str(trained_digits / "ten_digits")
    space = open_space(folder)
    features = space.features_NF(images(600))  # more than it looks at together
    assert features.shape == (600, 64)
    np.testing.assert_allclose(features[550:], space.features_NF(images(600))[550:])
    assert open_space(folder).digest == space.digest
    assert open_space(str(trained_digits / "parity")).digest != space.digest


def test_a_space_is_one_teacher(trained_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds 4 teachers: name the folder of one"):
        open_space(str(trained_digits))
    with pytest.raises(UserError, match="there is no repository at"):
        open_space(str(tmp_path / "nothing"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text("{}")
    with pytest.raises(UserError, match=r"--space .*broken cannot be loaded"):
        open_space(str(tmp_path / "broken"))
