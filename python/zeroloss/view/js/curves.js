// The charts over the steps: curves of one or several runs, the cursor, the events, and a table with the values.
const TIME_LABELS = { step: "step", time: "time of the dynamics", slow_time: "slow time" };

// The place of the last entry of an ascending array that is at most a value; -1 if there is none.
function lastAtMost(array, value) {
  let [low, high] = [0, array.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (array[middle] <= value) low = middle + 1;
    else high = middle;
  }
  return low - 1;
}

// A time coordinate at a step, interpolated between the records.
function timeAt(run, name, step) {
  if (name === "step") return step;
  const [steps, times] = [run.steps.values, run.times[name]?.values];
  if (times === undefined) return NaN;
  const place = lastAtMost(steps, step);
  if (place < 0) return times[0];
  if (place === steps.length - 1) return times[place];
  const share = (step - steps[place]) / (steps[place + 1] - steps[place]);
  return times[place] + share * (times[place + 1] - times[place]);
}

// A chart: { name, title, lines, linear, undefinedIn, level }. A line has { label, about, colour, dash, read }, and its
// function read returns { run, steps, values }.
class Chart {
  constructor(page, spec, container) {
    Object.assign(this, spec, { page, figure: page.figure(spec.name) });
    this.load();
    const block = element("div", undefined, { class: "chart" });
    block.append(element("h3", spec.title), page.place(spec.name));
    const table = element("table", undefined, { "aria-label": `${spec.title}: values at the cursor` });
    const head = element("tr");
    for (const text of ["Shown", "", "Curve", "Value"]) head.append(element("th", text, { scope: "col" }));
    const body = element("tbody");
    table.append(element("thead"), body);
    table.tHead.append(head);
    for (const line of this.lines) body.append(this.row(line));
    block.append(table);
    container.append(block);
    this.figure.x_range.change.connect(() => this.tick());
    this.figure.y_range.change.connect(() => this.tick());
    this.figure.on_event("tap", (event) => page.moveTo(event.x));
    this.lines.forEach((line, place) => {
      line.renderers = this.figure.renderers.filter((renderer) => renderer.name === `curve ${place}`);
      for (const renderer of line.renderers) {
        renderer.colour = line.colour;
        if (renderer.glyph.type === "Line") renderer.glyph.line_dash = { value: DASHES[line.dash] };
      }
    });
  }

  load() {
    for (const line of this.lines) Object.assign(line, line.read());
  }

  row(line) {
    const row = element("tr");
    const box = element("input", undefined, { type: "checkbox", "aria-label": `show ${line.label}` });
    box.checked = true;
    box.addEventListener("change", () => {
      for (const renderer of line.renderers) renderer.visible = box.checked;
      this.draw();
    });
    line.box = box;
    line.output = element("td", "", { class: "number" });
    const [shown, key] = [element("td"), element("td")];
    shown.append(box);
    key.append(keyOf(line));
    row.append(shown, key, element("th", line.label, { scope: "row", title: line.about || line.label }), line.output);
    return row;
  }

  paint() {
    paintFigure(this.figure);
    for (const line of this.lines) line.key.setAttribute("stroke", palette[line.colour]);
  }

  // Places all curves on the axes that are chosen.
  draw() {
    const { xscale, time } = this.page;
    const visible = this.lines.filter((line) => line.box.checked);
    const positive = visible.some((line) => line.values.some((v) => v > 0));
    this.yscale = makeScale(this.page.ylog && !this.linear && positive);
    const seen = [];
    this.lines.forEach((line, place) => {
      const xs = Array.from(line.steps, (step) => xscale.place(timeAt(line.run, time, step)));
      const ys = Array.from(line.values, (v) => (this.yscale.log && !(v > 0) ? NaN : Number.isFinite(v) ? this.yscale.place(v) : NaN));
      this.page.fill(`${this.name} ${place}`, { x: xs, y: ys, step: Array.from(line.steps), value: Array.from(line.values),
        label: xs.map(() => line.label) });
      if (line.box.checked) for (const y of ys) seen.push(y);
      for (const renderer of line.renderers) {
        if (renderer.glyph.type === "Scatter") renderer.visible = line.box.checked && xs.length <= 60;
      }
    });
    if (this.level) seen.push(this.yscale.place(this.level[1]));
    setRange(this.figure.y_range, ...paddedRange(seen));
    this.page.fill(`${this.name} band`, this.undefinedBands());
    this.figure.below[0].axis_label = this.page.axisLabel();
    this.tick();
  }

  // The spans of steps around the records at which a variable is undefined.
  undefinedBands() {
    const line = this.undefinedIn === null ? undefined : this.lines.find((one) => one.variable === this.undefinedIn);
    const bands = { left: [], right: [] };
    if (line === undefined) return bands;
    const xs = Array.from(line.steps, (step) => this.page.xscale.place(timeAt(line.run, this.page.time, step)));
    line.values.forEach((value, i) => {
      if (Number.isFinite(value)) return;
      bands.left.push(i ? (xs[i - 1] + xs[i]) / 2 : xs[i]);
      bands.right.push(i + 1 < xs.length ? (xs[i] + xs[i + 1]) / 2 : xs[i]);
    });
    return bands;
  }

  tick() {
    if (this.yscale === undefined) return;
    const narrow = window.innerWidth < 760;
    setTicks(this.figure.below[0], this.figure.x_range, this.page.xscale, narrow ? 5 : 10);
    setTicks(this.figure.left[0], this.figure.y_range, this.yscale, 5);
  }

  // Writes the values of the last records up to a step.
  follow(step) {
    for (const line of this.lines) {
      const place = lastAtMost(line.steps, step);
      line.output.textContent = place < 0 ? "none" : formatNumber(line.values[place]);
    }
  }
}
