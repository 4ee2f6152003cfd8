"""What opens where: exports of a small forecast, read by GDAL, QGIS, R and xarray.

Each row is one program and one format: whether it opens, and whether its mean is that of the
product. Programs that are not installed have a row that names them (Debian: ``gdal-bin``,
``python3-qgis``, ``qgis-providers``, ``r-cran-terra``, ``r-cran-stars``). QGIS draws a sheet of
layers with their styles, without a display: look at it.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import rasterio
import xarray as xr

import hmx
from hmx.exports.api import export
from tests.make.cubes import make_bundle, make_cube

SHEET = ["hm_1", "hm_2", "hm_change_2", "hm_width_80_2", "hm_exceedance_0.4_2", "quality"]
QGIS = Path(__file__).with_name("gis_sheet.py")
LIBRARY = Path(__file__).with_name("gis_library.py")
PYTHON = "/usr/bin/python3"  # of Debian, which has the bindings of QGIS


@dataclass(frozen=True)
class Row:
    """One program and one format."""

    program: str
    format: str
    result: str  # opens, fails, or not installed

    def text(self) -> str:
        return f"{self.program:<28} {self.format:<10} {self.result}"


def make_exports(folder: Path, side: int) -> tuple[xr.Dataset, dict[str, Path]]:
    """Write a forecast in every format."""
    cube = make_cube((side, side + 24))
    model = make_bundle(cube, calibrated=True)
    fc = cube.hm.forecast(h=2, model=model, level=80, exceed=0.4).load()
    made = {"cog": folder / "cog", "netcdf": folder / "fc.nc", "zarr2": folder / "v2.zarr"}
    made["geozarr"] = folder / "geo.zarr"
    cube.to_zarr(folder / "cube.zarr", zarr_format=3, consolidated=False)
    ds = hmx.open_cube(folder / "cube.zarr")
    ds.hm.forecast_to_zarr(folder / "fc.zarr", h=2, model=model, level=80)  # as a job writes it
    for name, path in made.items():
        more = {"past": cube} if name == "cog" else {}
        export(fc, path, format=name, **more)  # type: ignore[arg-type]
    return fc, made | {"store": folder / "fc.zarr"}


def compared(open_mean: Callable[[], float], expected: float) -> str:
    """Open and compare with the mean of the product."""
    try:
        found = open_mean()
    except Exception as error:
        return f"fails: {str(error).splitlines()[-1][:90] if str(error) else type(error).__name__}"
    return "opens" if abs(found - expected) < 1e-5 else f"mean {found:g} is not {expected:g}"


def words(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise RuntimeError((done.stderr or done.stdout).strip() or "no output")
    return done.stdout


def addresses(made: dict[str, Path]) -> dict[str, str]:
    """Name the last step of ``hm`` as GDAL does."""
    (cog,) = sorted(made["cog"].glob("hm_20*.tif"))[-1:]
    return {
        "cog": str(cog),
        "netcdf": f"NETCDF:{made['netcdf']}:hm",
        "zarr2": f'ZARR:"{made["zarr2"]}":/hm:1',
        "geozarr": f'ZARR:"{made["geozarr"]}":/hm:1',
    }


def python_rows(made: dict[str, Path], mean: float) -> Iterator[Row]:
    version = f"xarray {xr.__version__}"
    for name in ("netcdf", "zarr2", "geozarr"):
        opener = xr.open_dataset if name == "netcdf" else xr.open_zarr

        def of_xarray(name: str = name, opener: Callable[..., xr.Dataset] = opener) -> float:
            more = {} if name == "netcdf" else {"consolidated": name == "zarr2"}
            return float(opener(made[name], **more)["hm"][-1].astype("float64").mean())

        yield Row(version, name, compared(of_xarray, mean))
    for name, address in addresses(made).items():

        def of_rasterio(address: str = address, name: str = name) -> float:
            with rasterio.open(address) as file:
                assert file.crs is not None, "no CRS"
                band = file.read(2 if name == "netcdf" else 1, masked=True)
            return float(np.ma.masked_invalid(band).astype("float64").mean())

        yield Row(f"GDAL {rasterio.__gdal_version__} (rasterio)", name, compared(of_rasterio, mean))


def gdal_rows(made: dict[str, Path], mean: float) -> Iterator[Row]:
    if shutil.which("gdalinfo") is None:
        yield Row("gdalinfo", "-", "not installed: gdal-bin")
        return
    version = "GDAL " + words("gdalinfo", "--version").split()[1].rstrip(",") + " (gdal-bin)"
    for name, address in addresses(made).items():

        def of_gdal(address: str = address) -> float:
            told = json.loads(words("gdalinfo", "-json", "-stats", "--config",
                                    "GDAL_PAM_ENABLED", "NO", address))  # fmt: skip
            assert told.get("coordinateSystem", {}).get("wkt"), "no CRS"
            return float(told["bands"][-1]["metadata"][""]["STATISTICS_MEAN"])

        yield Row(version, name, compared(of_gdal, mean))


def library_rows(made: dict[str, Path], mean: float, libraries: list[str]) -> Iterator[Row]:
    """Open with the GDAL of other wheels: a newer one than that of rasterio, without bindings."""
    store = {"store": f'ZARR:"{made["store"]}":/hm:1'}
    for library in libraries or _of_pyogrio():

        def asked(address: str, band: int = 1, library: str = library) -> dict[str, Any]:
            # its own libraries lie beside it
            home = {**os.environ, "LD_LIBRARY_PATH": str(Path(library).parent)}
            done = subprocess.run(
                [sys.executable, str(LIBRARY), library, address, str(band)],
                capture_output=True, text=True, check=False, timeout=120, env=home,
            )  # fmt: skip
            if done.returncode:
                raise RuntimeError(done.stderr.strip() or f"exit code {done.returncode}")
            return dict(json.loads(done.stdout.splitlines()[-1]))

        version = f"GDAL {asked('')['version']} ({Path(library).parent.name})"
        for name, address in (addresses(made) | store).items():

            def of_library(address: str = address, name: str = name) -> float:
                found = asked(address, 2 if name == "netcdf" else 1)
                if "error" in found:
                    raise RuntimeError(found["error"])
                return float(found["mean"])

            yield Row(version, name, compared(of_library, mean))


def _of_pyogrio() -> list[str]:
    """Find the GDAL that the wheel of pyogrio brings."""
    found = find_spec("pyogrio")
    if found is None or found.origin is None:
        return []
    home = Path(found.origin).parent.parent / "pyogrio.libs"
    return [str(path) for path in sorted(home.glob("libgdal*"))]


R_SCRIPT = {
    "terra": 'suppressMessages(library(terra)); r <- rast("{at}"{var}); stopifnot(crs(r) != ""); '
    "cat(global(r[[nlyr(r)]], 'mean', na.rm=TRUE)[1, 1])",
    "stars": 'suppressMessages(library(stars)); s <- read_stars("{at}"); '
    "stopifnot(!is.na(st_crs(s))); d <- dim(s[[1]]); "
    "a <- array(s[[1]], c(d[1:2], prod(d[-(1:2)]))); cat(mean(a[,,dim(a)[3]], na.rm=TRUE))",
}


def r_rows(made: dict[str, Path], mean: float) -> Iterator[Row]:
    if shutil.which("Rscript") is None:
        yield Row("R", "-", "not installed: r-cran-terra r-cran-stars")
        return
    for package, script in R_SCRIPT.items():
        try:
            version = words("Rscript", "-e", f"cat(as.character(packageVersion('{package}')))")
        except RuntimeError:
            yield Row(f"R {package}", "-", f"not installed: r-cran-{package}")
            continue
        for name in ("cog", "netcdf", "zarr2"):
            at = addresses(made)[name].replace('"', '\\"')
            code = script.replace("{at}", at).replace("{var}", "")

            def of_r(code: str = code) -> float:
                return float(re.findall(r"[-\d.e]+$", words("Rscript", "-e", code).strip())[-1])

            yield Row(f"R {package} {version}", name, compared(of_r, mean))


def qgis_rows(made: dict[str, Path], mean: float, sheet: Path) -> Iterator[Row]:
    probe = [PYTHON, "-c", "import qgis.core; print(qgis.core.Qgis.QGIS_VERSION)"]
    try:
        version = f"QGIS {words(*probe).strip()}"
    except (RuntimeError, OSError):
        yield Row("QGIS", "-", "not installed: python3-qgis qgis-providers")
        return
    files = sorted(made["cog"].glob("*.tif"))
    years = sorted({found[1] for f in files if (found := re.search(r"_(\d{4})$", f.stem))})
    chosen = [made["cog"] / f"{_dated(name, years)}.tif" for name in SHEET]
    done = subprocess.run(
        [PYTHON, str(QGIS), str(sheet), *map(str, chosen)],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    for line in lines:
        fine = line["valid"] and line["styled"] and line["transparent"] and line["temporal"]
        yield Row(version, line["file"], "opens, styled" if fine else f"fails: {line}")
    if len(lines) != len(chosen):
        yield Row(version, "cog", f"fails: {done.stderr.strip()[-200:]}")
    for name in ("netcdf", "zarr2"):
        address = addresses(made)[name]
        yield Row(version, name, compared(lambda address=address: _mean_by_qgis(address), mean))  # type: ignore[misc]


def _dated(name: str, years: list[str]) -> str:
    stem, _, step = name.rpartition("_")
    return f"{stem}_{years[int(step) - 1]}" if step in ("1", "2") else name


def _mean_by_qgis(address: str) -> float:
    return float(json.loads(words(PYTHON, str(QGIS), "--mean", address).splitlines()[-1])["mean"])


def main(argv: list[str] | None = None) -> int:
    """Print the rows; end with 1 if a program opens a format wrongly."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--side", type=int, default=96)
    parser.add_argument("--sheet", type=Path, help="where QGIS draws (PNG)")
    parser.add_argument("--only", nargs="+", choices=["python", "gdal", "library", "r", "qgis"])
    parser.add_argument("--library", nargs="+", default=[], help="libgdal*.so of unpacked wheels")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args(argv)
    with TemporaryDirectory() as desk:
        folder = Path(desk)
        fc, made = make_exports(folder, given.side)
        mean = float(fc["hm"][-1].astype("float64").mean())
        sheet = given.sheet or folder / "sheet.png"
        parts: dict[str, Callable[[], Iterator[Row]]] = {
            "python": lambda: python_rows(made, mean),
            "gdal": lambda: gdal_rows(made, mean),
            "library": lambda: library_rows(made, mean, given.library),
            "r": lambda: r_rows(made, mean),
            "qgis": lambda: qgis_rows(made, mean, sheet),
        }
        rows = [row for name in given.only or parts for row in parts[name]()]
    print(json.dumps([asdict(row) for row in rows]) if given.json else "\n".join(
        row.text() for row in rows
    ))  # fmt: skip
    return int(any(row.result.startswith("mean ") for row in rows))


if __name__ == "__main__":
    sys.exit(main())
