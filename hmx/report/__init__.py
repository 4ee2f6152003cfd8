"""Report: one HTML file that a browser opens without a network, from any job's arrays.

``page.html``, ``page.css`` and the scripts ``data.js``, ``map.js``, ``chart.js`` and ``app.js`` are
its template. D3 7.9.0 (https://d3js.org, ISC licence, ``d3.LICENSE.txt``) zooms and draws axes.
"""
