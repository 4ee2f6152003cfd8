"use strict";
// Data: compressed blocks of the page as planes of whole numbers; see encode.py.
const report = (() => {
  const facts = JSON.parse(document.getElementById("facts").textContent);
  const [rows, columns] = facts.shape;
  const size = rows * columns;
  const missing = -32768;
  const known = new Map(); // promises of blocks
  const arrivals = new Map();

  // A block lies behind the scripts in the file, so it may not have been read yet.
  function arrival(name) {
    if (!arrivals.has(name)) {
      const entry = {};
      entry.promise = new Promise((resolve) => { entry.resolve = resolve; });
      arrivals.set(name, entry);
    }
    return arrivals.get(name);
  }

  function arrived(name) { arrival(name).resolve(); }

  async function bytes(name) {
    await arrival(name).promise;
    const element = document.getElementById(`block-${name}`);
    const text = atob(element.textContent);
    element.textContent = ""; // its memory is not needed again
    const packed = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) packed[i] = text.charCodeAt(i);
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  }

  function once(name, make) {
    if (!known.has(name)) known.set(name, make());
    return known.get(name);
  }

  // Planes of a block, one after the other; each was stored as its difference from the one before.
  async function unpack(name, before, size = rows * columns) {
    const raw = await bytes(name);
    const count = raw.length / 2;
    const codes = new Int16Array(count); // sums wrap around in 16 bits, as the differences did
    for (let i = 0; i < count; i++) {
      const step = raw[i] | (raw[count + i] << 8);
      const last = i >= size ? codes[i - size] : before ? before[i] : 0;
      codes[i] = step + last;
    }
    return codes;
  }

  function plane(codes, number) { return codes.subarray(number * size, (number + 1) * size); }

  const history = () => once("history", () => unpack("history"));
  async function origin() {
    return facts.observed ? plane(await history(), facts.observed - 1) : undefined;
  }
  const lead = (number) => once(`lead-${number}`, async () => unpack(`lead-${number}`, await origin()));
  const flags = (name) => once(`flags-${name}`, () => bytes(`flags-${name}`));

  const value = (code) => (code === missing ? NaN : (code + facts.base) * facts.quantum);
  // 0.3 / 0.0001 is not 3000: without the rounding, a pixel at the threshold would be above it
  const steps = (number) => Math.round(number / facts.quantum * 1e6) / 1e6;
  const code = (number) => steps(number) - facts.base;

  // The finer level: states of some times on more pixels, in tiles.
  const fine = facts.fine && (() => {
    const {stride, tile, shape, times} = facts.fine;
    const there = new Set(facts.fine.tiles);
    const side = (at, axis) => Math.min(tile, shape[axis] - at * tile);
    const has = (time, row, column) => times.includes(time) && there.has(`${row}-${column}`);
    // As at() below, on the pixels of one tile.
    async function part(time, row, column) {
      const count = side(row, 0) * side(column, 1);
      const name = `fine-${row}-${column}`;
      const codes = await once(name, () => unpack(name, undefined, count));
      const of = (wanted) => (times.includes(wanted) ? codes.subarray(times.indexOf(wanted) * count, (times.indexOf(wanted) + 1) * count) : undefined);
      return {[time < facts.observed ? "observed" : "mean"]: of(time), origin: of(facts.observed - 1)};
    }
    return {stride, tile, rows: shape[0], columns: shape[1], times, side, has, part};
  })();

  // All that is known of one time: codes of percentiles and of the expected value.
  async function at(time) {
    if (time < facts.observed) {
      return {observed: plane(await history(), time), origin: await origin()};
    }
    const codes = await lead(time - facts.observed);
    const levels = facts.levels.map((_, number) => plane(codes, number));
    return {levels, mean: plane(codes, facts.levels.length), origin: await origin()};
  }

  return {facts, rows, columns, size, missing, arrived, at, fine, flags, value, code, steps, plane, history};
})();

// Distribution: what a page computes from the percentiles of pixels, as distribution.py does:
// linear between the percentiles, flat beyond the outermost.
const distribution = (() => {
  const {facts, missing} = report;

  // The percentile before a probability, and the part of the way to the next one.
  function reading(probability) {
    const levels = facts.levels;
    const last = levels.length - 1;
    if (probability <= levels[0]) return [0, 0];
    if (probability >= levels[last]) return [last, 0];
    let first = 0;
    while (levels[first + 1] <= probability) first++;
    return [first, (probability - levels[first]) / (levels[first + 1] - levels[first])];
  }

  function quantile(planes, probability, pixel) {
    const [first, part] = reading(probability);
    const low = planes[first][pixel];
    if (low === missing || !part) return report.value(low);
    return (low + (planes[first + 1][pixel] - low) * part + facts.base) * facts.quantum;
  }

  // The probability of more than a threshold, which is a code with decimals.
  function exceedance(planes, threshold, pixel) {
    const levels = facts.levels;
    let low = 0, high = levels.length - 1;
    if (planes[0][pixel] === missing) return NaN;
    if (threshold < planes[0][pixel]) return 1;
    if (threshold >= planes[high][pixel]) return 0;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (planes[middle][pixel] <= threshold) low = middle; else high = middle;
    }
    const from = planes[low][pixel];
    const part = (threshold - from) / (planes[high][pixel] - from);
    return 1 - levels[low] - part * (levels[high] - levels[low]);
  }

  // The ends of a central interval, percent.
  function interval(planes, level, pixel) {
    const tail = Math.round((50 - level / 2) * 1e6) / 1e8; // without the noise of a division
    return [quantile(planes, tail, pixel), quantile(planes, 1 - tail, pixel)];
  }

  return {quantile, exceedance, interval, reading};
})();
