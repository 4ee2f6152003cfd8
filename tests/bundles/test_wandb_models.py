"""Models at Weights & Biases are models; the server is on the loopback."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import wandb
import xarray as xr

import hmx
from hmx.bundles import hub as remote_models
from hmx.bundles.hub import Reference, local_folder
from hmx.errors import BundleError
from tests.make.cubes import make_bundle, make_cube
from tests.make.servers import KEY, Store, serving


@pytest.fixture(scope="module")
def cube() -> xr.Dataset:
    return make_cube((24, 32))


@pytest.fixture(scope="module")
def models(cube: xr.Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("models")
    made = [make_bundle(cube, weights=w).save(place / w) for w in ("positive", "random")]
    return [Path(str(bundle.path)) for bundle in made]


def files(folder: Path) -> dict[str, bytes]:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


@pytest.fixture(scope="module", autouse=True)
def _own_session() -> Iterator[None]:
    """The client reads the environment once: it forgets this module's after it."""
    yield
    wandb.teardown()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Nothing kept, and nobody logged in."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    for name in ("CONFIG_DIR", "CACHE_DIR", "DATA_DIR"):
        monkeypatch.setenv(f"WANDB_{name}", str(tmp_path / "wandb" / name))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("HMX_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def store(models: list[Path], place: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    """A server with two versions of a model, and a login."""
    with serving(Store("me", "hm", "amapa", [files(folder) for folder in models])) as server:
        monkeypatch.setenv("WANDB_BASE_URL", server.url)
        monkeypatch.setenv("WANDB_API_KEY", KEY)
        yield server


def test_a_model_of_a_version_is_the_model_that_was_logged(
    store: Store, models: list[Path], place: Path
) -> None:
    for version, folder in enumerate(models):
        model = hmx.load(f"wandb:me/hm/amapa:v{version}")
        assert model.digest == hmx.load(folder).digest
        assert model.path == place / "me" / "hm" / "amapa" / f"v{version}"
        assert files(model.path) == files(folder)


def test_a_forecast_takes_a_reference_as_its_model(
    store: Store, models: list[Path], cube: xr.Dataset
) -> None:
    there = cube.hm.forecast(h=2, model="wandb:me/hm/amapa:v1")
    here = cube.hm.forecast(h=2, model=models[1])
    np.testing.assert_array_equal(there["hm"], here["hm"])


def test_a_version_that_is_kept_needs_no_server(
    store: Store, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = local_folder("wandb:me/hm/amapa:v0")
    asked = len(store.asked)
    monkeypatch.delenv("WANDB_API_KEY")
    assert local_folder("wandb:me/hm/amapa:v0") == first
    assert len(store.asked) == asked


def test_an_alias_is_asked_for_each_time_and_downloaded_once(
    store: Store, models: list[Path], place: Path
) -> None:
    assert local_folder("wandb:me/hm/amapa:latest").name == "v1"
    asked = len(store.asked)
    assert local_folder("wandb:me/hm/amapa:latest").name == "v1"
    assert len(store.asked) > asked
    assert "manifest" not in store.asked[asked:]
    store.versions.append(files(models[0]))
    assert local_folder("wandb:me/hm/amapa:latest").name == "v2"


def test_fetching_prints_nothing_and_leaves_nothing_else_behind(
    store: Store, place: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    local_folder("wandb:me/hm/amapa:v0")
    assert capfd.readouterr() == ("", "")
    assert [path.name for path in (place / "me" / "hm" / "amapa").iterdir()] == ["v0"]


@pytest.mark.parametrize(
    "name", ["wandb:me/hm/amapa:v7", "wandb:me/hm/brazil:v0", "wandb:me/x/amapa:v0"]
)
def test_what_is_not_there_is_said(store: Store, place: Path, name: str) -> None:
    with pytest.raises(BundleError, match=r"is not at Weights & Biases, or not for you.*full name"):
        hmx.load(name)
    assert not place.exists()


def test_an_artifact_that_is_no_model_is_refused(store: Store, place: Path) -> None:
    store.kind, store.versions[0] = "dataset", {"rows.csv": b"1,2"}
    with pytest.raises(BundleError, match=r"of type 'dataset' without bundle\.json.*hmx train"):
        hmx.load("wandb:me/hm/amapa:v0")
    assert not list((place / "me" / "hm" / "amapa").iterdir())


def test_a_damaged_download_is_not_kept(store: Store, place: Path) -> None:
    store.damaged = True
    with pytest.raises(BundleError, match=r"cannot be fetched.*\(.*igest.*\).*Try again"):
        hmx.load("wandb:me/hm/amapa:v0")
    assert not list((place / "me" / "hm" / "amapa").iterdir())
    store.damaged = False
    assert hmx.load("wandb:me/hm/amapa:v0").path


def test_a_half_made_folder_of_the_cache_is_replaced(store: Store, place: Path) -> None:
    (place / "me" / "hm" / "amapa" / "v0").mkdir(parents=True)
    (place / "me" / "hm" / "amapa" / "v0" / "weights.safetensors").touch()
    assert hmx.load("wandb:me/hm/amapa:v0").path


def test_without_a_key_the_error_says_how_to_log_in(place: Path) -> None:
    wandb.teardown()
    with pytest.raises(BundleError, match=r"needs a login.*Type wandb login, or set WANDB_API_KEY"):
        hmx.load("wandb:me/hm/amapa:v0")


def test_a_key_that_is_refused_is_said(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "f" * 40)
    with pytest.raises(BundleError, match=r"needs a login.*none that works"):
        hmx.load("wandb:me/hm/amapa:v0")


def test_a_server_that_does_not_answer_is_said(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_models, "_PATIENCE", 1)
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens there
    with pytest.raises(BundleError, match=r"cannot be fetched.*where there is a network") as caught:
        hmx.load("wandb:me/hm/amapa:v0")
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "text",
    [
        "wandb:amapa:v0", "wandb:hm/amapa:v0", "wandb:me/hm/amapa:", "wandb:me//amapa:v0",
        "wandb:me/hm/amapa:v0/x", "wandb:me/../amapa:v0", "wandb:me/hm/a b:v0", "wandb://me/hm/a:v0",
    ],
)  # fmt: skip
def test_what_is_no_reference_is_refused_before_anyone_is_asked(text: str, place: Path) -> None:
    with pytest.raises(BundleError, match=r"names no model.*Write 'wandb:entity/project/name:v3'"):
        hmx.load(text)


def test_a_reference_without_version_is_told_to_take_one() -> None:
    with pytest.raises(BundleError, match=r"Add a version: 'wandb:me/hm/amapa:latest'\.$"):
        Reference.parse("wandb:me/hm/amapa")


def test_a_reference_reads_as_it_is_written() -> None:
    reference = Reference.parse("wandb:me-2/hm_x/amapa.v1:v12")
    assert reference == Reference("me-2", "hm_x", "amapa.v1", "v12")
    assert str(reference) == "wandb:me-2/hm_x/amapa.v1:v12"
    assert reference.is_exact
    assert not Reference.parse("wandb:a/b/c:v1-best").is_exact


def test_a_folder_stays_a_folder(tmp_path: Path) -> None:
    assert local_folder(str(tmp_path)) == tmp_path
    assert local_folder(Path("wandb")) == Path("wandb").absolute()  # as it was typed, not as a URL
