// Figures with lines: values over one key, parallel coordinates, and curves in groups.
const MOST_LINES = 1000;
const MOST_FAINT = 200;

// An even choice of the entries of an array.
function thin(entries, most) {
  if (entries.length <= most) return entries;
  return Array.from({ length: most }, (_, i) => entries[Math.floor((i * entries.length) / most)]);
}

// A colour of the palette that has contrast with the background, for a place from 0 to 1.
function shadeOf(page, place) {
  const [low, high] = document.documentElement.dataset.theme === "dark" ? [90, 255] : [0, 190];
  return page.data.palette[Math.round(high + (low - high) * place)];
}

// An axis of numbers, logarithmic if that spreads them.
function axisOf(values) {
  const { low, high, log } = makeShades(values);
  return makeScale(log && high > 10 * low);
}

function drawPoints(page) {
  const figure = page.figures.get("points");
  page.get("one-key").hidden = page.axes.length > 1 || page.quantity === null;
  if (page.get("one-key").hidden) return;
  const dim = page.data.dims[page.axes[0]];
  const xs = dim.values ?? dim.labels.map((_, i) => i);
  const xscale = dim.values === null ? makeScale(false) : axisOf(xs);
  const cells = page.shown();
  const found = cells.map((cell) => ({ cell, ...page.measure(cell) }));
  const isCensored = ({ value, end }) => !Number.isFinite(value) && Number.isFinite(end);
  const yscale = axisOf(found.map((one) => (isCensored(one) ? one.end : one.value)));
  const columns = { values: { x: [], y: [], label: [], text: [] }, censored: { x: [], y: [], label: [], text: [] } };
  for (const one of found) {
    const censored = isCensored(one);
    const y = censored ? one.end : one.value;
    if (!Number.isFinite(y)) continue;
    const { x, y: to, label, text } = columns[censored ? "censored" : "values"];
    x.push(xscale.place(xs[page.placeOf(one.cell, page.axes[0])]));
    to.push(yscale.place(y));
    label.push(page.labelOf(one.cell));
    text.push(censored ? `not reached up to ${formatNumber(y, 6)}` : formatNumber(y, 6));
  }
  const middle = xs.map((_, at) => page.medianOf(cells.filter((cell) => page.placeOf(cell, page.axes[0]) === at)));
  const order = Array.from(xs.keys()).sort((i, j) => xs[i] - xs[j]);
  page.fill("medians", { x: order.map((i) => xscale.place(xs[i])), y: order.map((i) => (Number.isFinite(middle[i]) ? yscale.place(middle[i]) : NaN)) });
  for (const [name, one] of Object.entries(columns)) page.fill(name, one);
  setRange(figure.x_range, ...paddedRange(xs.map((x) => xscale.place(x))));
  setRange(figure.y_range, ...paddedRange([...columns.values.y, ...columns.censored.y]));
  page.ticks.set(figure, () => {
    setLabels(figure.below[0], dim.labels, xs.map((x) => xscale.place(x)));
    setTicks(figure.left[0], figure.y_range, yscale, 6);
  });
  figure.below[0].axis_label = dim.name;
}

// Labels an axis at some places, by default 0, 1, ….
function setLabels(axis, labels, places = Array.from(labels.keys())) {
  const shown = thin(Array.from(labels.keys()), 12);
  axis.ticker.ticks = shown.map((i) => places[i]);
  axis.major_label_overrides = new Map(shown.map((i) => [places[i], shortened(labels[i])]));
}

function drawParallel(page) {
  const { dims } = page.data;
  const all = page.shown();
  const cells = thin(all, MOST_LINES);
  const values = cells.map((cell) => page.medianOf([cell]));
  const shades = makeShades(values);
  const height = (at, size) => (size > 1 ? at / (size - 1) : 0.5);
  const order = Array.from(cells.keys()).filter((i) => !Number.isNaN(values[i]));
  order.sort((i, j) => (values[i] === values[j] ? 0 : values[j] - values[i])); // The hatched ones are drawn first.
  const x = Array.from({ length: dims.length + 1 }, (_, i) => i);
  page.fill("cells", {
    xs: order.map(() => x),
    ys: order.map((i) => [...dims.map((dim, d) => height(page.placeOf(cells[i], d), dim.labels.length)), Number.isFinite(values[i]) ? shades.at(values[i]) : 1.15]),
    colour: order.map((i) => (Number.isFinite(values[i]) ? shadeOf(page, shades.at(values[i])) : palette.grey)),
    dash: order.map((i) => (Number.isFinite(values[i]) ? "solid" : "dashed")),
    label: order.map((i) => `${page.labelOf(cells[i])}: ${page.words(values[i], [cells[i]])}`),
  });
  page.lines.set("cells", order.map((i) => cells[i]));
  page.fill("bars", { xs: x.map((i) => [i, i]), ys: x.map(() => [0, 1]) });
  const labels = { x: [], y: [], label: [] };
  const write = (at, y, label) => { labels.x.push(at); labels.y.push(y); labels.label.push(label); };
  dims.forEach((dim, d) => {
    for (const i of thin(Array.from(dim.labels.keys()), 12)) write(d, height(i, dim.labels.length), shortened(dim.labels[i]));
  });
  if (shades.count) {
    const middle = shades.log ? Math.sqrt(shades.low * shades.high) : (shades.low + shades.high) / 2;
    for (const value of shades.high > shades.low ? [shades.low, middle, shades.high] : [shades.low]) write(dims.length, shades.at(value), formatNumber(value, 3));
  }
  if (values.includes(Infinity)) write(dims.length, 1.15, page.isEvent() ? "not reached" : "diverged");
  page.fill("bar labels", labels);
  const figure = page.figures.get("parallel");
  const background = getComputedStyle(document.body).backgroundColor;
  figure.renderers.find(({ name }) => name === "label").glyph.background_fill_color = { value: background };
  setRange(figure.x_range, -0.15, dims.length + (window.innerWidth < 760 ? 0.9 : 0.6));
  setRange(figure.y_range, -0.08, 1.25);
  page.ticks.set(figure, () => setLabels(figure.below[0], [...dims.map(({ name }) => name), "value"]));
  page.get("figure-parallel").hidden = order.length === 0;
  const drawn = order.length < all.length ? ` ${order.length} of ${all.length} cells are drawn; cells without a value are not.` : "";
  page.get("parallel-note").textContent = order.length === 0 ? "No cell has a value." : `A line for each cell, through its keys to ${page.quantityText()} on the right. Dashed lines have no number. A click opens the page of the run; with the keyboard, choose its square.${drawn}`;
}

function shortened(text) {
  const most = window.innerWidth < 760 ? 12 : 30;
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

// The mean of curves at the steps at which the most of them have numbers, so that all points are over the same cells.
function meanCurve(curves, count) {
  const sums = new Float64Array(count);
  const known = new Uint32Array(count);
  for (const curve of curves) for (let i = 0; i < count; i++) if (Number.isFinite(curve[i])) { sums[i] += curve[i]; known[i] += 1; }
  const most = known.reduce((a, b) => Math.max(a, b), 0);
  return { cells: most, values: Array.from(sums, (sum, i) => (most && known[i] === most ? sum / most : NaN)) };
}

function drawGroups(page) {
  const curve = page.data.curves[Number(page.get("curve").value)];
  const by = Number(page.get("by").value);
  const dim = page.data.dims[by];
  const steps = page.data.steps.values;
  const xscale = makeScale(page.get("xscale").value === "log" && steps.some((step) => step > 0), steps.reduce((a, b) => (b > 0 ? Math.min(a, b) : a), Infinity));
  const positive = curve.values.values.some((value) => value > 0);
  const yscale = makeScale(page.get("yscale").value === "log" && curve.log && positive);
  const xs = Array.from(steps, (step) => xscale.place(step));
  const place = (values) => Array.from(values, (v) => (Number.isFinite(v) && (!yscale.log || v > 0) ? yscale.place(v) : NaN));
  const cells = page.shown();
  const rows = { curves: [], means: [] };
  const body = element("tbody");
  dim.labels.forEach((label, at) => {
    const own = cells.filter((cell) => page.placeOf(cell, by) === at)
      .map((cell) => ({ cell, values: curve.values.values.subarray(cell * steps.length, (cell + 1) * steps.length) }))
      .filter(({ values }) => values.some(Number.isFinite));
    if (!own.length) return;
    const dash = Object.keys(DASHES)[at % 4];
    const colour = dim.labels.length <= 6 ? palette[["blue", "vermilion", "green", "orange", "purple", "sky"][at]] : shadeOf(page, at / (dim.labels.length - 1));
    const mean = meanCurve(own.map(({ values }) => values), steps.length);
    const text = `${dim.name} = ${label}`;
    if (cells.length <= MOST_FAINT && own.length > 1) for (const { cell, values } of own) rows.curves.push({ cell, ys: place(values), colour, dash, label: page.labelOf(cell) });
    rows.means.push({ ys: place(mean.values), colour, dash, label: text });
    const [line, key] = [element("tr"), element("td")];
    const drawn = { dash };
    key.append(keyOf(drawn));
    drawn.key.setAttribute("stroke", colour);
    line.append(key, element("th", label, { scope: "row" }), element("td", String(mean.cells), { class: "number" }));
    body.append(line);
  });
  const seen = [];
  for (const [name, lines] of Object.entries(rows)) {
    const columns = Object.fromEntries(["ys", "colour", "dash", "label"].map((key) => [key, lines.map((line) => line[key])]));
    page.fill(name, { xs: lines.map(() => xs), ...columns });
    for (const { ys } of lines) for (const y of ys) seen.push(y);
  }
  page.lines.set("curves", rows.curves.map(({ cell }) => cell));
  const [table, head] = [element("table", undefined, { "aria-label": "Groups of curves" }), element("tr")];
  for (const text of ["", dim.name, "cells"]) head.append(element("th", text, { scope: "col" }));
  table.append(element("thead"), body);
  table.tHead.append(head);
  page.get("group-keys").replaceChildren(table);
  const figure = page.figures.get("groups");
  setRange(figure.x_range, ...paddedRange(xs, 0.02));
  setRange(figure.y_range, ...paddedRange(seen));
  figure.left[0].axis_label = curve.text;
  page.ticks.set(figure, () => {
    setTicks(figure.below[0], figure.x_range, xscale, window.innerWidth < 760 ? 5 : 10);
    setTicks(figure.left[0], figure.y_range, yscale, 6);
  });
}
