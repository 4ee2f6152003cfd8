"use strict";
// Chart: history and fan of one pixel, or the distribution of a map without time, and their table.
const chart = (() => {
  const {facts} = report;
  const shades = {50: 0.55, 80: 0.32, 95: 0.17};
  const blue = "#0072b2";
  const margin = {top: 8, right: 12, bottom: 26, left: 58};
  const format = (value) => (Number.isNaN(value) ? "no data" : value.toFixed(facts.digits < 0 ? 0 : facts.digits));
  const percent = (value) => (Number.isNaN(value) ? "" : value < 0.005 && value > 0 ? "< 1 %"
    : value > 0.995 && value < 1 ? "> 99 %" : `${Math.round(100 * value)} %`);

  // Everything that is known of a pixel, one entry for each time.
  async function read(pixel) {
    const entries = [];
    for (let time = 0; time < facts.times.length; time++) {
      const found = await report.at(time);
      const entry = {time, label: facts.times[time], year: facts.years[time]};
      if (found.observed) {
        entry.value = report.value(found.observed[pixel]);
      } else {
        entry.forecast = true;
        entry.value = report.value(found.mean[pixel]);
        entry.intervals = facts.intervals.map((level) => distribution.interval(found.levels, level, pixel));
        entry.planes = found.levels;
      }
      entries.push(entry);
    }
    return entries;
  }

  function draw(entries, now, threshold) {
    const svg = d3.select("#chart");
    const {width, height} = svg.node().getBoundingClientRect();
    svg.attr("viewBox", `0 0 ${width} ${height}`); // a print scales it
    svg.selectAll("*").remove();
    if (entries.every((entry) => Number.isNaN(entry.value))) return;
    if (!facts.observed) return drawDistribution(svg, entries[0], width, height, threshold);
    const all = entries.flatMap((entry) => [entry.value, ...(entry.intervals || []).flat()]).filter((v) => !Number.isNaN(v));
    if (threshold !== null && threshold >= d3.min(all) && threshold <= 1.2 * d3.max(all)) all.push(threshold);
    let [low, high] = d3.extent(all);
    if (high - low < 20 * facts.quantum) [low, high] = [low - 10 * facts.quantum, high + 10 * facts.quantum];
    const y = d3.scaleLinear([low, high], [height - margin.bottom, margin.top]).nice();
    const x = d3.scaleLinear(d3.extent(facts.years), [margin.left, width - margin.right]);
    axes(svg, d3.axisBottom(x).tickValues(ticks(facts.years)).tickFormat(d3.format("d")), d3.axisLeft(y).ticks(6), width, height);
    const past = entries.filter((entry) => !entry.forecast && !Number.isNaN(entry.value));
    const ahead = entries.filter((entry) => entry.forecast);
    const start = past.at(-1); // it is known: all bands begin there
    const fan = start ? [{...start, intervals: facts.intervals.map(() => [start.value, start.value])}, ...ahead] : ahead;
    [...facts.intervals.keys()].reverse().forEach((number) => {
      svg.append("path").attr("class", `band-${facts.intervals[number]}`).attr("fill", blue)
        .attr("fill-opacity", shades[facts.intervals[number]] ?? 0.2)
        .attr("d", d3.area((e) => x(e.year), (e) => y(e.intervals[number][0]), (e) => y(e.intervals[number][1]))(fan));
    });
    if (start) rule(svg, [x(start.year), x(start.year)], [margin.top, height - margin.bottom], "2 3", "#555");
    if (threshold !== null) {
      const at = y(threshold);
      if (at >= margin.top && at <= height - margin.bottom) rule(svg, [margin.left, width - margin.right], [at, at], "6 4", "#d55e00");
    }
    const line = d3.line((e) => x(e.year), (e) => y(e.value));
    svg.append("path").attr("d", line(fan)).attr("fill", "none").attr("stroke", blue).attr("stroke-width", 2.2);
    svg.append("path").attr("d", line(past)).attr("fill", "none").attr("stroke", "#000").attr("stroke-width", 1.8);
    svg.selectAll(".past").data(past).join("rect").attr("width", 6).attr("height", 6)
      .attr("x", (e) => x(e.year) - 3).attr("y", (e) => y(e.value) - 3);
    svg.selectAll(".ahead").data(ahead.filter((e) => !Number.isNaN(e.value))).join("circle").attr("r", (e) => (e.time === now ? 6 : 4))
      .attr("cx", (e) => x(e.year)).attr("cy", (e) => y(e.value)).attr("fill", blue);
    svg.append("text").attr("x", 2).attr("y", 2).attr("dy", "0.4em").text(facts.units);
  }

  // A map of samples has one time: probability of less than a value, with the intervals as bands.
  function drawDistribution(svg, entry, width, height, threshold) {
    const points = facts.levels.map((level) => ({level, value: distribution.quantile(entry.planes, level, entry.pixel)}));
    const x = d3.scaleLinear(d3.extent(points, (p) => p.value), [margin.left, width - margin.right]).nice();
    const y = d3.scaleLinear([0, 1], [height - margin.bottom, margin.top]);
    axes(svg, d3.axisBottom(x).ticks(5), d3.axisLeft(y).ticks(5, "%"), width, height);
    [...facts.intervals.keys()].reverse().forEach((number) => {
      const [low, high] = entry.intervals[number];
      svg.append("rect").attr("x", x(low)).attr("width", Math.max(0, x(high) - x(low))).attr("y", margin.top)
        .attr("height", height - margin.bottom - margin.top).attr("fill", blue).attr("fill-opacity", 0.17);
    });
    svg.append("text").attr("x", width - margin.right).attr("y", height - margin.bottom - 5).attr("text-anchor", "end").text(facts.units);
    svg.append("text").attr("x", margin.left + 5).attr("y", margin.top + 12).text("probability of less");
    svg.append("path").attr("d", d3.line((p) => x(p.value), (p) => y(p.level))(points))
      .attr("fill", "none").attr("stroke", "#000").attr("stroke-width", 2);
    rule(svg, [x(entry.value), x(entry.value)], [margin.top, height - margin.bottom], null, blue);
    if (threshold !== null) rule(svg, [x(threshold), x(threshold)], [margin.top, height - margin.bottom], "6 4", "#d55e00");
  }

  function axes(svg, bottom, left, width, height) {
    svg.append("g").attr("transform", `translate(0,${height - margin.bottom})`).call(bottom);
    svg.append("g").attr("transform", `translate(${margin.left},0)`).call(left)
      .call((g) => g.selectAll(".tick line").clone().attr("x2", width - margin.left - margin.right).attr("stroke-opacity", 0.12));
  }

  function ticks(years) {
    const step = Math.ceil(years.length / 7);
    return years.filter((_, number) => number % step === 0);
  }

  function rule(svg, [x1, x2], [y1, y2], dash, colour) {
    svg.append("line").attr("x1", x1).attr("x2", x2).attr("y1", y1).attr("y2", y2)
      .attr("stroke", colour).attr("stroke-width", 1.5).attr("stroke-dasharray", dash);
  }

  function key() {
    const swatch = (inner) => `<svg width="22" height="12">${inner}</svg>`;
    const parts = [];
    if (facts.observed) parts.push(`${swatch('<path d="M0 6H22" stroke="#000" stroke-width="2"/><rect x="8" y="3" width="6" height="6"/>')} observed`);
    parts.push(`${swatch(`<path d="M0 6H22" stroke="${blue}" stroke-width="2"/><circle cx="11" cy="6" r="4" fill="${blue}"/>`)} expected`);
    facts.intervals.forEach((level) => {
      parts.push(`${swatch(`<rect width="22" height="12" fill="${blue}" fill-opacity="${shades[level] ?? 0.2}"/>`)} ${level} %`);
    });
    if (facts.levels.length) parts.push(`${swatch('<path d="M0 6H22" stroke="#d55e00" stroke-width="2" stroke-dasharray="6 4"/>')} threshold`);
    document.getElementById("chart-key").innerHTML = parts.map((part) => `<span>${part}</span>`).join("");
  }

  function table(entries, now, threshold, pixel) {
    const heads = ["expected", ...facts.intervals.map((level) => `${level} %`)];
    const asked = threshold !== null && facts.levels.length;
    if (asked) heads.push(`P > ${threshold}`);
    d3.select("#values thead").html(`<tr><th>time</th>${heads.map((head) => `<th class="number">${head}</th>`).join("")}</tr>`);
    const body = d3.select("#values tbody").html("");
    entries.forEach((entry) => {
      const row = body.append("tr").classed("now", entry.time === now).attr("data-time", entry.label);
      row.append("td").text(entry.label);
      row.append("td").attr("class", "number value").text(format(entry.value));
      if (!entry.forecast) row.append("td").attr("colspan", facts.intervals.length || null).attr("class", "seen").text("observed");
      else facts.intervals.forEach((level, number) => {
        const ends = entry.intervals ? entry.intervals[number] : null;
        const known = ends && !Number.isNaN(ends[0]);
        row.append("td").attr("class", `number interval-${level}`)
          .text(known ? `${format(ends[0])}\u2013${format(ends[1])}` : "");
      });
      if (asked) {
        const share = entry.forecast ? distribution.exceedance(entry.planes, report.code(threshold), pixel)
          : Number.isNaN(entry.value) ? NaN : Number(entry.value > threshold);
        row.append("td").attr("class", "number exceedance").attr("data-value", share).text(percent(share));
      }
    });
  }

  async function show(pixel, now, threshold) {
    const entries = await read(pixel);
    entries.forEach((entry) => { entry.pixel = pixel; });
    draw(entries, now, threshold);
    table(entries, now, threshold, pixel);
  }

  return {show, key, format, percent};
})();
