// The page of a sweep: the choice of a quantity, of two keys as axes, and of the values of the other keys.
const COMPLETE = ["reached the end", "stopped by a rule"];
const OPEN = ["not ended", "not begun"];

class SweepPage {
  constructor(bokeh, data) {
    Object.assign(this, { data, axes: [...data.axes].slice(0, 2), ticks: new Map(), filters: data.dims.map(() => -1) });
    this.figures = new Map(bokeh.roots().map((figure) => [figure.name, figure]));
    this.sources = new Map();
    for (const figure of this.figures.values()) {
      for (const { data_source } of figure.renderers) this.sources.set(data_source.name, data_source);
      for (const range of [figure.x_range, figure.y_range]) range.change.connect(() => this.ticks.get(figure)?.());
    }
    this.count = data.cells.endings.length;
    this.strides = data.dims.map((_, d) => data.dims.slice(d + 1).reduce((product, dim) => product * dim.labels.length, 1));
    this.squares = new Squares(this);
    this.lines = new Map(); // The cells of the lines in a source.
    for (const name of ["cells", "curves"]) {
      const { selected } = this.sources.get(name);
      selected.properties.indices.change.connect(() => {
        const line = selected.indices.at(-1); // the one on top
        if (line === undefined) return;
        selected.indices = [];
        this.openRun(this.lines.get(name)[line]);
      });
    }
  }

  get(id) {
    return document.getElementById(id);
  }

  fill(name, columns) {
    this.sources.get(name).data = columns;
  }

  // The place of a cell along a dimension.
  placeOf(cell, dim) {
    return Math.floor(cell / this.strides[dim]) % this.data.dims[dim].labels.length;
  }

  labelOf(cell) {
    return this.data.dims.map((dim, d) => `${dim.name} = ${dim.labels[this.placeOf(cell, d)]}`).join(", ");
  }

  // Opens the page of a run, or shows how to write it.
  openRun(cell) {
    const { link } = this.data.cells.pages[cell];
    if (link) window.location.assign(link);
    else this.squares.choose(this.axes.map((dim) => this.placeOf(cell, dim)));
  }

  // The cells with the chosen values of the keys that are no axes.
  shown() {
    return this.cells;
  }

  isEvent() {
    return this.quantity !== null && this.quantity < this.data.events.length;
  }

  quantityText() {
    const { events, last } = this.data;
    if (this.quantity === null) return "state of the cells";
    if (!this.isEvent()) return `last ${last[this.quantity - events.length].text}`;
    const from = this.since < 0 ? "steps" : `steps from ${events[this.since].text}`;
    return `${from} to ${events[this.quantity].text}`;
  }

  // The value of a cell, and the end of its run if the value is a delay.
  measure(cell) {
    const { events, last, cells } = this.data;
    if (this.quantity === null) return { value: NaN, end: NaN };
    const diverged = cells.endings[cell] === "diverged";
    if (!this.isEvent()) return { value: diverged ? NaN : last[this.quantity - events.length].values.values[cell], end: NaN };
    const begin = this.since < 0 ? 0 : events[this.since].steps.values[cell];
    // A run that diverged can have no later event.
    return { value: events[this.quantity].steps.values[cell] - begin, end: (diverged ? Infinity : cells.last_step.values[cell]) - begin };
  }

  // The median of cells; Infinity if most have not reached the event or all have diverged, and NaN without any.
  medianOf(cells) {
    const found = cells.map((cell) => this.measure(cell));
    if (this.isEvent()) return medianStep(found.map(({ value }) => value), found.map(({ end }) => end));
    const middle = median(found.map(({ value }) => value));
    return Number.isNaN(middle) && cells.some((cell) => this.data.cells.endings[cell] === "diverged") ? Infinity : middle;
  }

  // A value in words, if it is no number.
  words(value, cells) {
    if (Number.isFinite(value)) return formatNumber(value, this.isEvent() ? 8 : 5);
    const endings = new Set(cells.map((cell) => this.data.cells.endings[cell]));
    if (endings.size === 1 && !COMPLETE.includes([...endings][0])) return [...endings][0];
    if (endings.size && [...endings].every((ending) => OPEN.includes(ending))) return OPEN[0];
    if (Number.isNaN(value)) return this.isEvent() && this.since >= 0 ? "start not reached" : "undefined";
    return this.isEvent() ? "not reached" : value > 0 ? "∞" : "−∞";
  }

  // The numbers of cells that have not ended or have failed.
  otherEndings(cells) {
    const counts = new Map();
    for (const cell of cells) {
      const ending = this.data.cells.endings[cell];
      if (!COMPLETE.includes(ending)) counts.set(ending, (counts.get(ending) ?? 0) + 1);
    }
    return [...counts].map(([ending, count]) => (count === cells.length ? ending : `${count} of ${cells.length} ${ending}`)).join(", ");
  }

  build() {
    const { data } = this;
    document.title = data.title;
    this.get("title").textContent = data.title;
    writeSettings(this, data.about);
    this.addOptions("quantity", [...data.events.map(({ text }) => `steps to ${text}`), ...data.last.map(({ text }) => `last ${text}`)]);
    this.addOptions("since", ["step 0", ...data.events.map(({ text }) => text)], -1);
    if (!data.events.length && !data.last.length) {
      this.get("quantity").parentElement.hidden = true;
      this.axes = [...data.dims.keys()].slice(0, 2);
    }
    const names = data.dims.map(({ name }) => name);
    this.addOptions("x", names);
    this.addOptions("y", ["none", ...names], -1);
    this.addOptions("by", names);
    this.addOptions("curve", data.curves.map(({ text }) => text));
    data.dims.forEach((dim, d) => {
      const control = element("div", undefined, { class: "control", id: `filter-${d}` });
      const select = element("select", undefined, { id: `filter-value-${d}` });
      control.append(element("label", dim.name, { for: select.id }), select);
      this.get("filters").append(control);
      this.addOptions(select, ["all values", ...dim.labels], -1);
      select.addEventListener("change", () => { this.filters[d] = Number(select.value); this.squares.chosen = null; this.draw(); });
    });
    const [first, last] = [0, data.events.length - 1];
    this.get("quantity").value = Math.max(last, 0);
    this.get("since").value = last > first ? first : -1;
    const preferred = data.curves.findIndex(({ text }) => text === "test accuracy");
    this.get("curve").value = Math.max(preferred, 0);
    this.get("by").value = this.axes[0];
    for (const id of ["quantity", "since"]) this.get(id).addEventListener("change", () => this.draw());
    for (const id of ["x", "y"]) this.get(id).addEventListener("change", () => this.chooseAxes(id));
    for (const id of ["by", "curve", "xscale", "yscale"]) this.get(id).addEventListener("change", () => drawGroups(this));
    for (const form of document.querySelectorAll("form")) form.addEventListener("submit", (event) => event.preventDefault());
    this.get("theme").addEventListener("click", () => this.paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
    wantsDark().addEventListener("change", (event) => this.paint(event.matches ? "dark" : "light"));
    this.get("open-note").textContent = this.describeOpen();
    if (!data.curves.length) {
      this.get("grouped").hidden = true;
      this.get("no-curves").hidden = false;
    }
  }

  // What the page lacks because of cells that have not ended.
  describeOpen() {
    const { endings } = this.data.cells;
    const open = endings.filter((ending) => OPEN.includes(ending)).length;
    if (open === 0) return "";
    if (open < endings.length) return `${open} cells have not ended. They are often the slow ones, so medians of the others are too small.`;
    return "No cell has ended yet, so there are no values. The map shows which cells have begun. Write the page again to see more.";
  }

  addOptions(control, texts, first = 0) {
    const select = typeof control === "string" ? this.get(control) : control;
    texts.forEach((text, i) => select.append(element("option", text, { value: i + first })));
  }

  // Takes the axes from the controls. If both are the same, the other one gets the former value.
  chooseAxes(changed) {
    const [x, y] = [Number(this.get("x").value), Number(this.get("y").value)];
    const before = this.axes;
    this.axes = y < 0 ? [x] : [x, y];
    if (x === y) this.axes = changed === "x" ? [x, before[0]] : before.length > 1 ? [before[1], y] : [x];
    this.squares.chosen = null;
    this.draw();
  }

  draw() {
    const { data, axes } = this;
    this.get("x").value = axes[0];
    this.get("y").value = axes[1] ?? -1;
    this.quantity = data.events.length + data.last.length ? Number(this.get("quantity").value) : null;
    this.get("since-control").hidden = !this.isEvent();
    this.since = Number(this.get("since").value);
    data.dims.forEach((_, d) => { this.get(`filter-${d}`).hidden = axes.includes(d); });
    const others = Array.from(data.dims.keys()).filter((d) => !axes.includes(d));
    this.get("filters").hidden = others.length === 0;
    this.cells = Array.from({ length: this.count }, (_, i) => i).filter((cell) =>
      others.every((d) => this.filters[d] < 0 || this.placeOf(cell, d) === this.filters[d]));
    this.squares.draw();
    drawPoints(this);
    drawParallel(this);
    if (data.curves.length) drawGroups(this);
    for (const tick of this.ticks.values()) tick();
  }

  paint(theme) {
    setTheme(theme);
    for (const figure of this.figures.values()) paintFigure(figure);
    this.draw();
  }
}

async function start() {
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const bokeh = Bokeh.require("document").Document.from_json(read("figures").document);
  const page = new SweepPage(bokeh, await decode(read("data")));
  page.build();
  page.paint(wantsDark().matches ? "dark" : "light");
  await Bokeh.embed.add_document_standalone(bokeh, document.body, bokeh.roots().map((figure) => page.get(`figure-${figure.name}`)));
  for (const tick of page.ticks.values()) tick();
  document.documentElement.dataset.ready = "yes";
}

start().catch(reportFailure);
