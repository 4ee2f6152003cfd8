"use strict";
// Map: layers computed from the percentiles of every pixel, drawn on a canvas that zooms.
const map = (() => {
  const {facts, rows, columns, size, missing} = report;
  const grey = [184, 184, 184];
  const tables = Object.fromEntries(Object.entries(facts.colours).map(([kind, text]) => [kind, Uint8Array.from(atob(text), (c) => c.charCodeAt(0))]));

  // Each layer: its name, colours, what it needs beside the time, and its number at a pixel.
  const layers = {
    change: {
      name: "Expected change", colours: "change", needs: "past", fine: true,
      title: (s) => `Expected change, ${facts.times[facts.observed - 1]} to ${facts.times[s.time]}`,
      of: (d, s) => (p) => (d.origin[p] === missing ? NaN : report.value((d.observed || d.mean)[p]) - report.value(d.origin[p])),
    },
    rise: {
      name: "Probability of a rise", colours: "probability", needs: "past levels", control: "rise",
      title: (s) => `Probability of a rise of more than ${s.rise} from ${facts.times[facts.observed - 1]} to ${facts.times[s.time]}`,
      of: (d, s) => (p) => {
        if (d.origin[p] === missing) return NaN;
        const threshold = d.origin[p] + report.steps(s.rise);
        return d.observed ? certain(d, p, threshold) : distribution.exceedance(d.levels, threshold, p);
      },
    },
    width: {
      name: "Interval width", colours: "width", needs: "levels", control: "width",
      title: (s) => `Width of the ${s.level} % interval, ${facts.times[s.time]}`,
      of: (d, s) => (p) => {
        if (d.observed) return d.observed[p] === missing ? NaN : 0;
        const [low, high] = distribution.interval(d.levels, s.level, p);
        return high - low;
      },
    },
    value: {
      name: facts.observed ? "State" : "Estimate", colours: "value", needs: "", fine: true,
      title: (s) => (s.time < facts.observed ? `Observed ${facts.name}, ${facts.times[s.time]}` : `Expected ${facts.name}, ${facts.times[s.time]}`),
      of: (d) => (p) => report.value((d.observed || d.mean)[p]),
    },
    percentile: {
      name: "Percentile", colours: "value", needs: "levels", control: "percentile",
      title: (s) => `Percentile ${s.percentile} of ${facts.name}, ${facts.times[s.time]}`,
      of: (d, s) => (p) => (d.observed ? report.value(d.observed[p]) : distribution.quantile(d.levels, s.percentile / 100, p)),
    },
    exceed: {
      name: "Probability of more than", colours: "probability", needs: "levels", control: "exceed",
      title: (s) => `Probability of ${facts.name} above ${s.threshold}, ${facts.times[s.time]}`,
      of: (d, s) => (p) => (d.observed ? certain(d, p, report.code(s.threshold)) : distribution.exceedance(d.levels, report.code(s.threshold), p)),
    },
  };
  // where, how much, how sure: a page begins with the first
  const order = facts.observed ? Object.keys(layers) : ["value", "width", "percentile", "exceed"];
  const offered = order.filter((name) => {
    const needs = layers[name].needs;
    return (!needs.includes("past") || facts.observed) && (!needs.includes("levels") || facts.levels.length);
  });

  function certain(d, p, threshold) { return d.observed[p] === missing ? NaN : Number(d.observed[p] > threshold); }

  async function evaluate(state) { return numbers(state, await report.at(state.time), size); }

  function numbers(state, found, count) {
    const number = layers[state.layer].of(found, state);
    const values = new Float64Array(count);
    for (let p = 0; p < count; p++) values[p] = number(p);
    return values;
  }

  function range(layer) { return facts.ranges[layers[layer].colours]; }

  function paint(values, layer, canvas, width = columns) {
    const count = values.length;
    canvas.width = width; canvas.height = count / width;
    const context = canvas.getContext("2d");
    const image = context.createImageData(width, count / width);
    const table = tables[layers[layer].colours];
    const [low, high] = range(layer);
    for (let p = 0; p < count; p++) {
      const value = values[p];
      const at = 3 * Math.max(0, Math.min(255, Math.floor(256 * (value - low) / (high - low))));
      for (let band = 0; band < 3; band++) image.data[4 * p + band] = value === value ? table[at + band] : grey[band];
      image.data[4 * p + 3] = 255;
    }
    context.putImageData(image, 0, 0);
    return canvas;
  }

  const box = document.getElementById("map");
  const canvas = document.getElementById("canvas");
  const context = canvas.getContext("2d");
  let transform = d3.zoomIdentity, pictures = [], masks = [], cut = 0.5, chosen = null, detail = null;

  // Pixels of the screen for a column and a row of the raster, before the zoom: all of it fits.
  const [height0, width0] = facts.grid;
  function fit() {
    const {clientWidth: width, clientHeight: height} = box;
    const across = Math.min(width / width0, height / (height0 * facts.aspect));
    return {across, down: across * facts.aspect, left: (width - across * width0) / 2, top: (height - across * facts.aspect * height0) / 2};
  }

  // Row and column of the raster under a point of the screen, with decimals.
  function rasterAt(x, y) {
    const f = fit();
    const column = (transform.invertX(x) - f.left) / f.across, row = (transform.invertY(y) - f.top) / f.down;
    return row >= 0 && row < height0 && column >= 0 && column < width0 ? [row, column] : null;
  }

  // A sampled pixel stands for the land around it: its cell lies around its middle.
  function nearest([row, column], level) {
    const at = (value, count) => Math.max(0, Math.min(count - 1, Math.round((value - 0.5) / level.stride)));
    return [at(row, level.rows), at(column, level.columns)];
  }
  const overview = {stride: facts.stride, rows, columns};
  const corner = (at, level) => at * level.stride - (level.stride - 1) / 2;

  // Where some pixels of a level are on the screen: left, top, width, height.
  function placed(f, level, row, column, down, across) {
    return [
      transform.applyX(f.left + corner(column, level) * f.across), transform.applyY(f.top + corner(row, level) * f.down),
      across * level.stride * f.across * transform.k, down * level.stride * f.down * transform.k,
    ];
  }

  // The finer level is drawn where a pixel of the overview is larger than one of the screen.
  function detailed(state) {
    const {fine} = report;
    if (!fine || !layers[state.layer].fine || !fine.times.includes(state.time)) return false;
    return facts.stride * fit().across * transform.k * (window.devicePixelRatio || 1) > 1.2;
  }

  const drawn = new Map(); // tiles of the finer level: canvas and numbers, the latest last
  function tile(state, row, column) {
    const name = `${state.layer} ${state.time} ${row} ${column}`;
    const entry = drawn.get(name) || {};
    drawn.delete(name); drawn.set(name, entry);
    if (drawn.size > 160) drawn.delete(drawn.keys().next().value);
    if (!entry.asked) {
      entry.asked = report.fine.part(state.time, row, column).then((found) => {
        const across = report.fine.side(column, 1);
        entry.values = numbers(state, found, report.fine.side(row, 0) * across);
        entry.canvas = paint(entry.values, state.layer, document.createElement("canvas"), across);
        requestAnimationFrame(draw);
      });
    }
    return entry;
  }

  // The number that is drawn at a point of the raster, and the pixel and level it is of.
  function reading(state, values, point) {
    const {fine} = report;
    if (detailed(state)) {
      const [row, column] = nearest(point, fine);
      const [i, j] = [Math.floor(row / fine.tile), Math.floor(column / fine.tile)];
      const entry = fine.has(state.time, i, j) ? tile(state, i, j) : {};
      if (entry.values) return entry.values[(row - i * fine.tile) * fine.side(j, 1) + column - j * fine.tile];
    }
    const [row, column] = nearest(point, overview);
    return values[row * columns + column];
  }

  function draw() {
    const sheet = document.body.classList.contains("sheet"); // paper shows finer pixels
    const scale = (window.devicePixelRatio || 1) * (sheet ? 2 : 1);
    const {clientWidth: width, clientHeight: height} = box;
    if (canvas.width !== width * scale || canvas.height !== height * scale) {
      canvas.width = width * scale; canvas.height = height * scale;
    }
    const f = fit();
    context.setTransform(scale, 0, 0, scale, 0, 0);
    context.clearRect(0, 0, width, height);
    const place = placed(f, overview, 0, 0, rows, columns);
    pictures.forEach(({canvas: picture, state}, side) => {
      context.save();
      context.beginPath();
      const from = side ? cut * width : 0;
      context.rect(from, 0, pictures.length > 1 && !side ? cut * width : width - from, height);
      context.clip();
      // the cells of the outermost pixels reach beyond the raster
      context.beginPath();
      context.rect(transform.applyX(f.left), transform.applyY(f.top), f.across * width0 * transform.k, f.down * height0 * transform.k);
      context.clip();
      // pixels of the raster are squares when they are larger than those of the screen
      context.imageSmoothingEnabled = facts.stride * f.across * transform.k < 1;
      context.drawImage(picture, ...place);
      if (detailed(state)) drawFine(f, state, width, height);
      context.restore();
    });
    masks.forEach((mask) => hatch(mask, place, width, height, scale));
    if (pictures.length > 1) {
      context.fillStyle = "#fff"; context.fillRect(cut * width - 2.5, 0, 5, height);
      context.fillStyle = "#000"; context.fillRect(cut * width - 1, 0, 2, height);
    }
    // pale layers end somewhere, also on a projector
    context.strokeStyle = "#555"; context.lineWidth = 1;
    context.strokeRect(transform.applyX(f.left), transform.applyY(f.top), f.across * width0 * transform.k, f.down * height0 * transform.k);
    scaleBar(f, width, height);
    if (chosen !== null) mark(f);
    if (pictures.length) document.getElementById("shown-level").textContent = level();
  }

  function drawFine(f, state, width, height) {
    const {fine} = report;
    context.imageSmoothingEnabled = fine.stride * f.across * transform.k < 1;
    for (let i = 0; i * fine.tile < fine.rows; i++) {
      for (let j = 0; j * fine.tile < fine.columns; j++) {
        if (!fine.has(state.time, i, j)) continue;
        const place = placed(f, fine, i * fine.tile, j * fine.tile, fine.side(i, 0), fine.side(j, 1));
        if (place[0] > width || place[1] > height || place[0] + place[2] < 0 || place[1] + place[3] < 0) continue;
        const {canvas: picture} = tile(state, i, j);
        if (picture) context.drawImage(picture, ...place);
      }
    }
  }

  // What the map shows at this zoom.
  function level() {
    if (facts.stride === 1) return "";
    const every = (n) => (n === 1 ? "every pixel" : `one row and column of ${n}`);
    const [first] = pictures;
    const shown = detailed(first.state) ? report.fine.stride : facts.stride;
    const rest = report.fine && shown === facts.stride && !(layers[first.state.layer].fine && report.fine.times.includes(first.state.time)) ? " at each zoom" : "";
    return `Shown here: ${every(shown)}${rest}.`;
  }

  // Lines across flagged pixels, of the same width at every zoom.
  function hatch(mask, place, width, height, scale) {
    const layer = new OffscreenCanvas(width * scale, height * scale);
    const lines = layer.getContext("2d");
    lines.scale(scale, scale);
    lines.fillStyle = "#ffffff80"; lines.fillRect(0, 0, width, height);
    lines.strokeStyle = "#000"; lines.lineWidth = 1;
    lines.beginPath();
    for (let at = -height; at < width; at += 7) { lines.moveTo(at, height); lines.lineTo(at + height, 0); }
    lines.stroke();
    lines.globalCompositeOperation = "destination-in";
    lines.imageSmoothingEnabled = false;
    lines.drawImage(mask, ...place);
    context.drawImage(layer, 0, 0, width, height);
  }

  // A red frame around the chosen pixel; that of the overview, if it is another, is black.
  function mark(f) {
    const frames = [[overview, Math.floor(chosen / columns), chosen % columns, detail ? "#000" : "#d00000"]];
    if (detail) frames.push([report.fine, ...detail, "#d00000"]);
    for (const [level, row, column, ink] of frames) {
      const [x, y, w, h] = placed(f, level, row, column, 1, 1);
      const grow = Math.max(0, 9 - w) / 2;
      for (const [colour, line] of [["#fff", 5], [ink, 2.4]]) {
        context.strokeStyle = colour; context.lineWidth = line;
        context.strokeRect(x - grow, y - grow, w + 2 * grow, h + 2 * grow);
      }
    }
  }

  // A round length at the middle of the map, at most a fifth of its width.
  function scaleBar(f, width, height) {
    const metres = facts.pixel_m[0] / (f.across * transform.k);
    const most = metres * width / 5;
    const power = 10 ** Math.floor(Math.log10(most));
    const length = [5, 2, 1].map((n) => n * power).find((n) => n <= most);
    const across = length / metres;
    const text = length < 1000 ? `${length} m` : `${d3.format(",")(length / 1000)} km`;
    const [x, y] = [width - across - 14, 22];
    context.fillStyle = "#ffffffcc"; context.fillRect(x - 6, 2, across + 12, 26);
    context.fillStyle = "#000"; context.fillRect(x, y, across, 3);
    context.font = "13px system-ui, sans-serif"; context.textAlign = "center";
    context.fillText(text, x + across / 2, y - 4);
  }

  async function maskOf(flag) {
    const plane = await report.flags(flag.name);
    const found = new OffscreenCanvas(columns, rows);
    const image = new ImageData(columns, rows);
    for (let p = 0; p < size; p++) {
      image.data[4 * p + 3] = (flag.mask ? plane[p] & flag.value : plane[p] === flag.value) ? 255 : 0;
    }
    found.getContext("2d").putImageData(image, 0, 0);
    return found;
  }

  function legend(layer, id) {
    const svg = d3.select(`#${id}`).attr("aria-label", `Colours of ${layers[layer].name}`);
    svg.selectAll("*").remove();
    const width = svg.node().getBoundingClientRect().width - 24;
    const [low, high] = range(layer);
    const table = tables[layers[layer].colours];
    const stops = d3.range(0, 256, 5).map((n) => `<stop offset="${n / 255}" stop-color="rgb(${table.slice(3 * n, 3 * n + 3).join()})"/>`);
    svg.html(`<defs><linearGradient id="ramp-${id}">${stops.join("")}</linearGradient></defs><rect x="12" width="${width}" height="14" fill="url(#ramp-${id})" stroke="#555"/>`);
    const share = layers[layer].colours === "probability";
    svg.append("g").attr("transform", "translate(12,14)").call(d3.axisBottom(d3.scaleLinear([low, high], [0, width])).ticks(width > 300 ? 6 : 4, share ? "%" : undefined));
    const unit = share ? "probability" : facts.units || "";
    svg.append("text").attr("x", 12).attr("y", 48).text(unit + (share ? "" : `${unit ? ", " : ""}colours end at ${d3.format(".3~g")(low)} and ${d3.format(".3~g")(high)}`));
  }

  return {
    layers, offered, evaluate, paint, draw, rasterAt, nearest, overview, detailed, reading, legend, maskOf, box,
    show(list) { pictures = list; draw(); },
    flagged(list) { masks = list; draw(); },
    zoomed(next) { transform = next; draw(); },
    divide(share) { cut = share; draw(); },
    choose(pixel, fine) { chosen = pixel; detail = fine; draw(); },
    // where the middle of a pixel of the overview is on the screen, px from the corner of the map
    middle(pixel) {
      const [x, y, w, h] = placed(fit(), overview, Math.floor(pixel / columns), pixel % columns, 1, 1);
      return [x + w / 2, y + h / 2];
    },
  };
})();
