"use strict";
// App: controls, keys and what they change.
const app = (() => {
  const {facts, rows, columns} = report;
  const byId = (id) => document.getElementById(id);
  const last = facts.times.length - 1;
  const state = {
    layer: map.offered[0], time: last, percentile: 90, threshold: facts.threshold, rise: facts.rise,
    level: facts.intervals.at(-1), pixel: null, detail: null, compare: false, layer2: facts.observed ? "value" : map.offered.at(1) ?? "value", time2: Math.max(0, facts.observed - 1), flags: new Set(facts.flagged),
  };
  const second = () => ({...state, layer: state.layer2, time: state.time2});
  const canvases = [document.createElement("canvas"), document.createElement("canvas")];
  let values = null, turn = 0;

  function describe(time) {
    if (!facts.observed) return facts.times[time];
    if (time < facts.observed) return `${facts.times[time]} (observed)`;
    const lead = time - facts.observed + 1;
    return `${facts.times[time]} (lead ${lead}${facts.beyond.includes(lead) ? ", beyond the learnt leads" : ""})`;
  }

  // Compute and draw what the controls ask for; an older request that comes late is dropped.
  async function update() {
    const mine = ++turn;
    controls();
    const found = await map.evaluate(state);
    const other = state.compare ? await map.evaluate(second()) : null;
    if (mine !== turn) return;
    values = found;
    const pictures = [{canvas: map.paint(found, state.layer, canvases[0]), state: {...state}}];
    if (other) pictures.push({canvas: map.paint(other, state.layer2, canvases[1]), state: second()});
    map.show(pictures);
    byId("legend").classList.toggle("two", state.compare);
    map.legend(state.layer, "bar");
    if (state.compare) map.legend(state.layer2, "bar-2");
    byId("caption").textContent = map.layers[state.layer].title(state);
    byId("sides").hidden = byId("divider").hidden = !state.compare;
    byId("left-side").textContent = map.layers[state.layer].title(state);
    byId("right-side").textContent = state.compare ? map.layers[state.layer2].title(second()) : "";
    await pixel();
    document.body.dataset.ready = String(mine); // tests and prints wait for it
  }

  function controls() {
    document.querySelectorAll("#layers button").forEach((button) => {
      const on = button.dataset.layer === state.layer;
      button.setAttribute("aria-checked", String(on));
      button.tabIndex = on ? 0 : -1;
    });
    const asked = [state.layer, ...(state.compare ? [state.layer2] : [])].map((name) => map.layers[name].control);
    document.querySelectorAll(".of").forEach((row) => { row.hidden = !asked.some((name) => row.classList.contains(name)); });
    document.querySelectorAll(".second").forEach((row) => { row.hidden = !state.compare || (last === 0 && row.contains(byId("time-2"))); });
    byId("time").value = state.time; byId("time-label").textContent = describe(state.time);
    byId("time-2").value = state.time2; byId("time-2-label").textContent = describe(state.time2);
    byId("percentile").value = state.percentile;
    byId("percentile-label").textContent = `${state.percentile}`;
    byId("threshold").value = byId("threshold-number").value = state.threshold;
    byId("rise").value = byId("rise-number").value = state.rise;
  }

  // Choose the pixel of the overview nearest to a point of the raster, and what is drawn there.
  async function choose(point) {
    const [row, column] = map.nearest(point, map.overview);
    state.pixel = row * columns + column;
    state.detail = map.detailed(state) ? map.nearest(point, report.fine) : null;
    await pixel();
  }

  const rasterOf = (at, level) => at.map((value) => value * level.stride);
  const overviewAt = () => [Math.floor(state.pixel / columns), state.pixel % columns];
  const where = ([row, column]) => [facts.x[0] + column * facts.x[1], facts.y[0] + row * facts.y[1]]
    .map((value) => value.toFixed(facts.geographic ? 4 : 0)).join(", ");

  async function pixel() {
    if (state.pixel === null) return;
    const at = rasterOf(overviewAt(), map.overview);
    const other = state.detail && rasterOf(state.detail, report.fine).join() !== at.join();
    byId("pixel-title").textContent = `${other ? "Nearest pixel with percentiles:" : "Pixel at"} ${where(at)}`;
    byId("pixel").dataset.pixel = at.join();
    const asks = state.layer === "exceed" || !facts.observed;
    map.choose(state.pixel, state.detail);
    await detail(at);
    await chart.show(state.pixel, state.time, asks || state.threshold !== undefined ? state.threshold : null);
    byId("pixel").dataset.shown = byId("pixel").dataset.pixel;
  }

  // The finer level has states alone: its pixel is one line, and the chart is of the overview.
  async function detail(at) {
    const {fine} = report;
    byId("detail").hidden = !state.detail;
    if (!state.detail) return;
    const [row, column] = state.detail;
    const [i, j] = [Math.floor(row / fine.tile), Math.floor(column / fine.tile)];
    const p = (row - i * fine.tile) * fine.side(j, 1) + column - j * fine.tile;
    const parts = [];
    for (const time of fine.times) {
      const found = fine.has(time, i, j) ? await fine.part(time, i, j) : null;
      const value = found ? report.value((found.observed || found.mean)[p]) : NaN;
      parts.push(`${number(value, "value")} ${time < facts.observed ? "in" : "expected in"} ${facts.times[time]}`);
    }
    const here = rasterOf(state.detail, fine);
    const far = Math.hypot((here[0] - at[0]) * facts.pixel_m[1], (here[1] - at[1]) * facts.pixel_m[0]);
    byId("detail").textContent = `Clicked pixel (finer level, ${where(here)}): ${parts.join("; ")}. `
      + (far ? `The chart is of another pixel, ${d3.format(",.3~r")(far / 1000)} km away (black frame).` : "The chart is of the same pixel.");
    byId("pixel").dataset.detail = here.join();
  }

  function number(value, layer) {
    if (Number.isNaN(value)) return "no data";
    return map.layers[layer].colours === "probability" ? chart.percent(value) : `${chart.format(value)}${facts.units ? ` ${facts.units}` : ""}`;
  }

  function layersAsButtons() {
    for (const name of map.offered) {
      const button = document.createElement("button");
      button.type = "button"; button.dataset.layer = name;
      button.setAttribute("role", "radio");
      button.append(document.createElement("canvas"), map.layers[name].name);
      button.addEventListener("click", () => { state.layer = name; update(); });
      byId("layers").append(button);
      byId("layer-2").append(new Option(map.layers[name].name, name));
    }
    byId("layers").addEventListener("keydown", (event) => {
      const step = {ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1}[event.key];
      if (!step) return;
      event.preventDefault();
      const at = map.offered.indexOf(state.layer);
      state.layer = map.offered[(at + step + map.offered.length) % map.offered.length];
      update();
      document.querySelector(`#layers [data-layer="${state.layer}"]`).focus();
    });
    byId("layer-2").value = state.layer2;
  }

  async function thumbnails() {
    for (const button of document.querySelectorAll("#layers button")) {
      const name = button.dataset.layer;
      map.paint(await map.evaluate({...state, layer: name, time: last}), name, button.querySelector("canvas"));
      await new Promise((resolve) => setTimeout(resolve)); // keys and clicks come first
    }
    document.body.dataset.thumbnails = "done";
  }

  function sliders() {
    const steps = facts.steps;
    byId("time").max = byId("time-2").max = last;
    byId("time-row").hidden = last === 0;
    byId("compare-row").hidden = last === 0 && map.offered.length < 2;
    for (const id of ["threshold", "rise"]) {
      const [low, high] = steps[id];
      Object.assign(byId(id), {min: low, max: high, step: facts.quantum});
      byId(`${id}-number`).step = facts.quantum;
      for (const element of [byId(id), byId(`${id}-number`)]) {
        element.addEventListener("input", () => {
          if (element.value === "" || Number.isNaN(element.valueAsNumber)) return;
          state[id] = element.valueAsNumber;
          update();
        });
      }
    }
    const bind = (id, name, convert = Number) => byId(id).addEventListener("input", () => { state[name] = convert(byId(id).value); update(); });
    bind("time", "time"); bind("time-2", "time2"); bind("percentile", "percentile");
    bind("layer-2", "layer2", String); bind("level", "level");
    facts.intervals.forEach((level) => byId("level").append(new Option(`${level} %`, level)));
    byId("level").value = state.level;
    byId("compare").addEventListener("input", () => { state.compare = byId("compare").checked; update(); });
    byId("divider").addEventListener("input", () => map.divide(byId("divider").value / 1000));
  }

  async function flags() {
    async function show() { map.flagged(await Promise.all(facts.flags.filter((flag) => state.flags.has(flag.id)).map(map.maskOf))); }
    for (const flag of facts.flags) {
      const label = document.createElement("label");
      const check = Object.assign(document.createElement("input"), {type: "checkbox", id: flag.id, checked: state.flags.has(flag.id)});
      check.addEventListener("input", () => { if (check.checked) state.flags.add(flag.id); else state.flags.delete(flag.id); show(); });
      label.append(check, Object.assign(document.createElement("span"), {className: "swatch flagged"}), ` ${flag.text} (${flag.share})`);
      byId("flag-keys").append(label);
    }
    if (state.flags.size) await show();
  }

  function mouseAndKeys() {
    const zoom = d3.zoom().scaleExtent([1, Math.max(8, Math.max(...facts.grid) / (report.fine || map.overview).stride / 12)]).on("zoom", (event) => map.zoomed(event.transform));
    const selection = d3.select(map.box).call(zoom).on("dblclick.zoom", null);
    const bounds = () => zoom.translateExtent([[0, 0], [map.box.clientWidth, map.box.clientHeight]]);
    bounds();
    new ResizeObserver(() => { bounds(); map.draw(); }).observe(map.box);
    map.box.addEventListener("click", (event) => {
      if (event.target === byId("divider")) return;
      const found = map.rasterAt(...d3.pointer(event, map.box));
      if (found !== null) choose(found);
    });
    map.box.addEventListener("pointermove", (event) => {
      const found = map.rasterAt(...d3.pointer(event, map.box));
      byId("readout").textContent = found === null || values === null ? "" : number(map.reading(state, values, found), state.layer);
    });
    map.box.addEventListener("pointerleave", () => { byId("readout").textContent = ""; });
    // the divider moves alone: the map below must not follow it
    for (const kind of ["mousedown", "touchstart", "dblclick"]) byId("divider").addEventListener(kind, (event) => event.stopPropagation());
    map.box.addEventListener("keydown", (event) => {
      if (event.target !== map.box) return;
      const far = event.shiftKey ? 10 : 1;
      const moves = {ArrowLeft: [0, -far], ArrowRight: [0, far], ArrowUp: [-far, 0], ArrowDown: [far, 0]};
      const scales = {"+": 1.5, "=": 1.5, "-": 1 / 1.5};
      if (moves[event.key]) {
        const level = map.detailed(state) ? report.fine : map.overview;
        const from = state.pixel === null ? facts.grid.map((size) => size / 2)
          : state.detail ? rasterOf(state.detail, report.fine) : rasterOf(overviewAt(), map.overview);
        choose(from.map((value, axis) => value + 0.5 + moves[event.key][axis] * level.stride));
      } else if (scales[event.key]) {
        if (state.pixel === null) selection.call(zoom.scaleBy, scales[event.key]);
        else selection.call(zoom.scaleBy, scales[event.key], map.middle(state.pixel));
      } else if (event.key === "0") {
        selection.call(zoom.transform, d3.zoomIdentity);
      } else if (event.key === "[" || event.key === "]") {
        state.time = Math.max(0, Math.min(last, state.time + (event.key === "]" ? 1 : -1)));
        update();
      } else return;
      event.preventDefault();
    });
    // a sheet has another size than the window, and its layout comes after this event
    const sheet = (on) => { document.body.classList.toggle("sheet", on); map.draw(); };
    window.addEventListener("beforeprint", () => sheet(true));
    window.addEventListener("afterprint", () => sheet(false));
  }

  layersAsButtons(); sliders(); chart.key(); mouseAndKeys();
  byId("sampled").textContent = facts.sampled;
  state.pixel = facts.first;
  update().then(flags).then(thumbnails);
  return {state, choose, values: () => values};
})();
