"""QGIS without a display: layers drawn with their styles, run by the Python of Debian."""

import json
import os
import sys

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
from qgis.core import (
    QgsApplication,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsRasterBandStats,
    QgsRasterLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor, QImage, QPainter

SIDE, COLUMNS, LINE = 380, 3, 60  # px


def drawn(layer):
    """Draw a layer on a transparent ground."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(SIDE, SIDE - LINE))
    settings.setBackgroundColor(QColor(0, 0, 0, 0))
    settings.setDestinationCrs(layer.crs())
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def main(target, *files):
    """Draw the files, one line of JSON for each."""
    rows = -(-len(files) // COLUMNS)
    sheet = QImage(COLUMNS * SIDE, rows * SIDE, QImage.Format_ARGB32)
    sheet.fill(QColor("white"))
    painter = QPainter(sheet)
    for number, path in enumerate(files):
        layer = QgsRasterLayer(path, os.path.basename(path))
        _, styled = layer.loadNamedStyle(path[:-4] + ".qml")
        picture = drawn(layer)
        at = [(x, y) for x in range(0, SIDE, 7) for y in range(0, SIDE - LINE, 7)]
        clear = [picture.pixelColor(x, y).alpha() == 0 for x, y in at]
        # the coast and the lake of the cube are seen through, and the land is not
        row = {
            "file": os.path.basename(path).rsplit(".", 1)[0],
            "valid": layer.isValid() and layer.crs().isValid(),
            "styled": styled and type(layer.renderer()).__name__ != "QgsSingleBandGrayRenderer",
            "transparent": any(clear) and not all(clear),
            "temporal": layer.temporalProperties().isActive() or "quality" in path,
            "band": layer.bandName(1),
        }
        print(json.dumps(row), flush=True)
        x, y = (number % COLUMNS) * SIDE, (number // COLUMNS) * SIDE
        painter.setClipRect(x, y, SIDE - 8, SIDE)
        painter.drawText(x + 6, y + 14, layer.bandName(1))
        painter.drawImage(x, y + 20, picture)
        for part, item in enumerate(layer.legendSymbologyItems()[:5]):
            painter.fillRect(x + 6 + part * 72, y + SIDE - 34, 16, 12, item[1])
            painter.drawText(x + 26 + part * 72, y + SIDE - 24, item[0][:9])
    painter.end()
    sheet.save(target)


def mean(address):
    """Print the mean of the last band."""
    layer = QgsRasterLayer(address, "x", "gdal")
    provider = layer.dataProvider()
    found = provider.bandStatistics(layer.bandCount(), QgsRasterBandStats.Mean)
    print(json.dumps({"mean": found.mean}), flush=True)


application = QgsApplication([], False)
application.initQgis()
mean(sys.argv[2]) if sys.argv[1] == "--mean" else main(*sys.argv[1:])
os._exit(0)  # without the destructors of Qt, which may crash without a display
