// The page: controls, the cursor that all panels follow, and newer data of a run in progress.
const PAUSE = 300; // milliseconds between the snapshots of Play
const POLL = 1000; // milliseconds between requests for newer data
const REST = 500; // milliseconds without a change after which figures out of sight are drawn

class Page {
  constructor(bokeh, data) {
    Object.assign(this, { data, runs: data.runs, time: "step", xlog: true, ylog: true, charts: [], panels: [], step: 0 });
    this.figures = new Map(bokeh.roots().map((figure) => [figure.name, figure]));
    Object.assign(this, { sources: new Map(), hidden: new Set(), waiting: new Map() });
    for (const figure of this.figures.values()) {
      for (const { data_source } of figure.renderers) this.sources.set(data_source.name, data_source);
    }
  }

  get(id) {
    return document.getElementById(id);
  }

  figure(name) {
    return this.figures.get(name);
  }

  // The element that holds a figure; a new one if the page has none yet.
  place(name) {
    const id = `figure-${name.replaceAll(" ", "-")}`;
    return this.get(id) ?? element("div", undefined, { id });
  }

  // Gives a source of a figure new columns.
  fill(name, columns) {
    this.sources.get(name).data = columns;
  }

  // Calls a function that draws a part of a figure. If the figure is out of sight, the call waits until it is in sight or
  // the reader rests, because each figure takes milliseconds. A later call for the same part replaces it.
  show(figure, part, draw) {
    const key = `${figure}, ${part}`;
    this.waiting.delete(key);
    if (!this.hidden.has(figure)) {
      draw();
      return;
    }
    this.waiting.set(key, { figure, draw });
    clearTimeout(this.rest);
    this.rest = setTimeout(() => this.drawNext(), REST);
  }

  // Draws the figures out of sight, one at a time.
  drawNext() {
    const [first] = this.waiting.values();
    if (first === undefined) return;
    this.drawWaiting(first.figure);
    this.rest = setTimeout(() => this.drawNext());
  }

  drawWaiting(figure) {
    for (const [key, one] of this.waiting) {
      if (one.figure !== figure) continue;
      this.waiting.delete(key);
      one.draw();
    }
  }

  // Notes which figures are in sight, below the controls that stay at the top.
  observe(places) {
    const names = new Map(places.map((place, at) => [place, [...this.figures.keys()][at]]));
    const see = ({ target, isIntersecting }) => {
      const figure = names.get(target);
      if (!isIntersecting) this.hidden.add(figure);
      else {
        this.hidden.delete(figure);
        this.drawWaiting(figure);
      }
    };
    const observer = new IntersectionObserver((entries) => entries.forEach(see), { rootMargin: `${-this.get("controls").offsetHeight}px 0px 0px` });
    places.forEach((place) => observer.observe(place));
  }

  absent(part, note, sentence) {
    this.get(part).hidden = true;
    this.get(note).hidden = false;
    this.get(note).textContent = sentence;
  }

  axisLabel() {
    return TIME_LABELS[this.time];
  }

  build() {
    const { data } = this;
    this.write();
    this.buildCurves();
    this.buildMeasures();
    if (data.units !== null) this.panels.push(new Units(this, data.units));
    else {
      this.absent("frequencies", "no-group", "The run has no snapshots. The option snapshot_every records them.");
      this.absent("unit", "no-units", "The run has no snapshots. The option snapshot_every records them.");
    }
    if (data.table !== null) this.panels.push(new Table(this, data.table));
    else {
      const why = data.units === null ? "The run has no snapshots." : "The samples are not pairs of two numbers with at most 20 000 cells.";
      this.absent("predictions", "no-table", `There is no table of predictions. ${why}`);
    }
    this.buildControls();
  }

  // A line of a chart; it has no points if the run, given by its place, lacks the variable.
  line(place, variable, label, colour, dash) {
    const read = () => {
      const run = this.runs[place];
      const curve = run.curves[variable];
      if (curve === undefined) return { run, steps: [], values: [] };
      return { run, steps: run.steps.values, values: curve.values.values };
    };
    return { variable, label, about: this.runs[place].curves[variable]?.about ?? "", colour, dash, read };
  }

  buildCurves() {
    const several = this.runs.length > 1;
    const colours = ["blue", "vermilion", "green", "orange", "purple", "sky"];
    for (const [name, lines] of Object.entries(this.data.charts)) {
      const all = this.runs.flatMap((run, place) => Object.entries(lines).map(([variable, [label, colour, dash]]) =>
        this.line(place, variable, several ? `${run.name}: ${label}` : label, several ? colours[place % colours.length] : colour, dash)));
      const title = { loss: "Loss", accuracy: "Accuracy", norms: "Norms of the layers" }[name];
      this.charts.push(new Chart(this, { name, title, lines: all, linear: name === "accuracy", undefinedIn: null, level: null }, this.get("main-charts")));
    }
  }

  writeRecords() {
    const thinned = this.runs.filter((run) => run.steps.values.length < run.records);
    this.get("records").textContent = this.runs[0].records === 0 ? "The run has no records." : thinned.map((run) =>
      `${run.name}: ${run.steps.values.length} of ${run.records} records are drawn; they include the extremes.`).join(" ");
  }

  buildMeasures() {
    for (const spec of this.data.measured) {
      const lines = spec.curves.map(([variable, colour, dash]) => this.line(0, variable, variable.replaceAll("_", " "), colour, dash));
      if (spec.level !== null) {
        const [label, value] = spec.level;
        const read = () => {
          const { values } = this.runs[0].steps;
          return { run: this.runs[0], steps: values, values: values.map(() => value) };
        };
        lines.push({ variable: null, label, about: "", colour: "grey", dash: "dotted", read });
      }
      const linear = ["measured cosine", "measured counts"].includes(spec.name);
      this.charts.push(new Chart(this, { ...spec, lines, linear, undefinedIn: spec.undefined }, this.get("measured-charts")));
    }
    if (!this.data.measured.length) this.absent("measured-charts", "no-measures", "The run has no measured variables.");
  }

  buildControls() {
    const first = this.runs[0];
    const cursor = this.get("cursor");
    cursor.addEventListener("input", () => this.setCursor(Number(cursor.value)));
    for (const name of ["step", ...Object.keys(first.times)]) this.get("time").append(element("option", TIME_LABELS[name], { value: name }));
    const redraw = () => {
      this.time = this.get("time").value;
      this.xlog = this.get("xscale").value === "log";
      this.ylog = this.get("yscale").value === "log";
      this.draw();
    };
    for (const id of ["time", "xscale", "yscale"]) this.get(id).addEventListener("change", redraw);
    for (const id of ["controls", "axes"]) this.get(id).addEventListener("submit", (event) => event.preventDefault());
    this.get("previous").addEventListener("click", () => this.stepSnapshot(-1));
    this.get("next").addEventListener("click", () => this.stepSnapshot(1));
    this.get("play").addEventListener("click", () => this.play(this.timer === undefined));
    this.get("theme").addEventListener("click", () => this.paint(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
    wantsDark().addEventListener("change", (event) => this.paint(event.matches ? "dark" : "light"));
  }

  // Writes all that depends on the data and is no figure.
  write() {
    const { about, title } = this.data;
    document.title = title;
    this.get("title").textContent = title;
    writeSettings(this, about);
    this.writeRecords();
    this.snapshots = this.data.units === null ? [] : Array.from(this.data.units.steps.values);
    this.positions = [...new Set([...this.runs[0].steps.values, ...this.snapshots])].sort((a, b) => a - b);
    this.get("cursor").max = Math.max(0, this.positions.length - 1);
    this.get("players").hidden = this.snapshots.length < 2;
    this.get("events").replaceChildren(...this.runs[0].events.map(({ text, step }) => {
      const button = element("button", `${text}: ${step === null ? "not yet" : `step ${step}`}`, { type: "button" });
      button.disabled = step === null;
      button.addEventListener("click", () => this.setCursor(Math.max(0, lastAtMost(this.positions, step))));
      return button;
    }));
  }

  // Shows newer data. A cursor at the last record stays there.
  load(data) {
    if (data.layout !== this.data.layout || data.runs.some((run, place) => Object.keys(run.times).join() !== Object.keys(this.runs[place].times).join())) {
      window.location.reload();
      return;
    }
    const atEnd = this.position === this.positions.length - 1;
    Object.assign(this, { data, runs: data.runs, snapshot: undefined });
    this.write();
    for (const panel of this.panels) panel.load(data);
    for (const chart of this.charts) chart.load();
    this.draw();
    this.setCursor(atEnd ? this.positions.length - 1 : lastAtMost(this.positions, this.step));
  }

  async follow(address) {
    let version = 0;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, POLL));
      try {
        const answer = await fetch(`${address}?version=${version}`);
        if (answer.status !== 200) continue;
        const newer = await decode(await answer.json());
        version = newer.version;
        this.load(newer);
      } catch (error) {
        if (!(error instanceof TypeError)) throw error; // The server has ended; it may be started again.
      }
    }
  }

  paint(theme) {
    setTheme(theme);
    for (const figure of this.figures.values()) paintFigure(figure);
    for (const chart of this.charts) chart.paint();
    for (const panel of this.panels) if (panel.snapshot !== undefined) panel.draw();
  }

  // Places everything on the axes that are chosen.
  draw() {
    const first = this.runs[0];
    const events = first.events.map(({ step }) => step).filter((step) => step !== null);
    const steps = [...this.positions, ...events];
    const times = [...steps.map((step) => timeAt(first, this.time, step)),
      ...this.runs.slice(1).flatMap((run) => Array.from(run.steps.values, (step) => timeAt(run, this.time, step)))];
    const positive = times.filter((t) => t > 0);
    this.xscale = makeScale(this.xlog && positive.length > 0, positive.reduce((a, b) => Math.min(a, b), Infinity));
    const range = this.figure("loss").x_range;
    setRange(range, ...paddedRange(times.map((t) => this.xscale.place(t)), 0.02));
    const x = events.map((step) => this.xscale.place(timeAt(first, this.time, step)));
    for (const chart of this.charts) {
      this.show(chart.name, "curves", () => {
        this.fill(`${chart.name} events`, { x });
        chart.draw();
      });
    }
    this.drawCursor();
  }

  drawCursor() {
    const x = this.xscale.place(timeAt(this.runs[0], this.time, this.step));
    for (const { name } of this.charts) this.show(name, "cursor", () => this.fill(`${name} cursor`, { x: Number.isFinite(x) ? [x] : [] }));
  }

  setCursor(position) {
    if (!this.positions.length) return;
    this.position = Math.min(Math.max(position, 0), this.positions.length - 1);
    this.step = this.positions[this.position];
    this.get("cursor").value = this.position;
    this.get("cursor").setAttribute("aria-valuetext", `step ${this.step}`);
    this.get("step").textContent = String(this.step);
    this.drawCursor();
    for (const chart of this.charts) chart.follow(this.step);
    const snapshot = Math.max(0, lastAtMost(this.snapshots, this.step));
    if (!this.panels.length || snapshot === this.snapshot) return;
    this.snapshot = snapshot;
    for (const one of document.querySelectorAll(".snapshot")) one.textContent = `at step ${this.snapshots[snapshot]}`;
    for (const panel of this.panels) panel.show(snapshot);
  }

  moveTo(x) {
    const distance = (step) => Math.abs(this.xscale.place(timeAt(this.runs[0], this.time, step)) - x);
    let best = 0;
    this.positions.forEach((step, place) => { if (distance(step) < distance(this.positions[best])) best = place; });
    this.setCursor(best);
  }

  stepSnapshot(by) {
    const place = Math.min(Math.max((this.snapshot ?? 0) + by, 0), this.snapshots.length - 1);
    this.setCursor(lastAtMost(this.positions, this.snapshots[place]));
    return place < this.snapshots.length - 1;
  }

  play(start) {
    clearInterval(this.timer);
    this.timer = undefined;
    this.get("play").setAttribute("aria-pressed", String(start));
    this.get("play").textContent = start ? "Pause" : "Play";
    if (!start) return;
    if (this.snapshot === this.snapshots.length - 1) this.setCursor(lastAtMost(this.positions, this.snapshots[0]));
    this.timer = setInterval(() => { if (!this.stepSnapshot(1)) this.play(false); }, PAUSE);
  }
}

// Bokeh writes the position of each axis and each curve into a style sheet whenever it paints a figure, and then the
// browser computes all styles again. Equal style sheets stay, which saves a quarter of the time of a step of the slider.
function keepEqualStyles() {
  const sheet = Bokeh.require("core/dom").InlineStyleSheet.prototype;
  const { replace } = sheet;
  sheet.replace = function (css, styles) {
    if (styles !== undefined || this.el.textContent !== css) replace.call(this, css, styles);
  };
}

async function start() {
  keepEqualStyles();
  const read = (id) => JSON.parse(document.getElementById(id).textContent);
  const figures = read("figures");
  const bokeh = Bokeh.require("document").Document.from_json(figures.document);
  const page = new Page(bokeh, await decode(read("data")));
  setTheme(wantsDark().matches ? "dark" : "light");
  page.build();
  page.paint(document.documentElement.dataset.theme);
  page.draw();
  page.setCursor(page.positions.length - 1);
  const places = bokeh.roots().map((figure) => page.place(figure.name));
  await Bokeh.embed.add_document_standalone(bokeh, document.body, places);
  for (const chart of page.charts) chart.tick();
  page.observe(places);
  document.documentElement.dataset.ready = "yes";
  if (page.data.address !== null) page.follow(page.data.address);
}

start().catch(reportFailure);
