"""GDAL of a wheel without bindings: the mean of a band, run in a process of its own."""

import ctypes
import json
import math
import sys

READ, FLOAT64 = 0, 7  # GDAL's GA_ReadOnly, GF_Read and GDT_Float64


def mean_of(library, address, band):
    """Return the version of GDAL, and the mean of what is known in a band."""
    gdal = ctypes.CDLL(library)
    for name in ("GDALOpen", "GDALGetRasterBand"):
        getattr(gdal, name).restype = ctypes.c_void_p
    for name in ("GDALVersionInfo", "GDALGetProjectionRef", "CPLGetLastErrorMsg"):
        getattr(gdal, name).restype = ctypes.c_char_p
    version = gdal.GDALVersionInfo(b"RELEASE_NAME").decode()
    if not address:
        return {"version": version}
    gdal.GDALAllRegister()
    data = ctypes.c_void_p(gdal.GDALOpen(address.encode(), READ))
    if not data:
        return {"version": version, "error": gdal.CPLGetLastErrorMsg().decode()}
    if not gdal.GDALGetProjectionRef(data):
        return {"version": version, "error": "no CRS"}
    sizes = gdal.GDALGetRasterXSize(data), gdal.GDALGetRasterYSize(data)
    values = (ctypes.c_double * math.prod(sizes))()
    chosen = ctypes.c_void_p(gdal.GDALGetRasterBand(data, band))
    whole = (0, 0, *sizes, values, *sizes, FLOAT64, 0, 0)
    if gdal.GDALRasterIO(chosen, READ, *whole):
        return {"version": version, "error": gdal.CPLGetLastErrorMsg().decode()}
    known = [value for value in values if math.isfinite(value)]
    return {"version": version, "mean": math.fsum(known) / len(known)}


if __name__ == "__main__":
    print(json.dumps(mean_of(sys.argv[1], sys.argv[2], int(sys.argv[3]))))
