// The table of predictions: a cell for each pair of numbers.
const KINDS = { rightTrain: "training, right", wrongTrain: "training, wrong", rightTest: "test, right", wrongTest: "test, wrong" };

class Table {
  constructor(page, table) {
    Object.assign(this, { page, table });
    const chart = page.figure("table");
    for (const range of [chart.x_range, chart.y_range]) setRange(range, -0.5, table.n - 0.5);
    for (const [kind, label] of Object.entries(KINDS)) {
      const row = element("tr");
      const cell = element("td");
      cell.append(element("span", undefined, { class: "swatch", "data-kind": kind, "aria-hidden": "true" }));
      row.append(cell, element("th", label, { scope: "row" }), element("td", "", { class: "number", id: `count-${kind}` }));
      page.get("counts").tBodies[0].append(row);
    }
    this.prepare();
  }

  // The columns of the figure that are the same at all snapshots, with an entry for each cell.
  prepare() {
    const { page, table } = this;
    this.fixed = Object.fromEntries(["a", "b", "part", "target"].map((name) => [name, new Array(table.n ** 2).fill("")]));
    const test = { x: [], y: [] };
    for (let i = 0; i < table.a.values.length; i++) {
      for (const [a, b] of this.cells(i)) {
        const place = b * table.n + a;
        const part = table.test.values[i] ? "test" : "training";
        for (const [name, value] of Object.entries({ a, b, part, target: table.target.values[i] })) this.fixed[name][place] = value;
        if (!table.test.values[i]) continue;
        test.x.push(a);
        test.y.push(b);
      }
    }
    page.fill("test cells", test);
  }

  // The cells of a sample: (a, b), and (b, a) if the pair has no order.
  cells(i) {
    const [a, b] = [this.table.a.values[i], this.table.b.values[i]];
    return this.table.mirror && a !== b ? [[a, b], [b, a]] : [[a, b]];
  }

  load({ table }) {
    this.table = table;
    this.prepare();
  }

  show(snapshot) {
    this.snapshot = snapshot;
    this.draw();
  }

  draw() {
    this.page.show("table", "cells", () => this.drawCells());
  }

  drawCells() {
    const { page, table } = this;
    const { n } = table;
    const names = Object.keys(KINDS);
    const base = this.snapshot * table.a.values.length;
    const counts = [0, 0, 0, 0];
    const kind = new Float32Array(n * n).fill(NaN);
    const columns = { ...this.fixed, predicted: new Array(n * n).fill(""), margin: new Array(n * n).fill("") };
    for (let i = 0; i < table.a.values.length; i++) {
      const predicted = table.predicted.values[base + i];
      const which = 2 * table.test.values[i] + (predicted === table.target.values[i] ? 0 : 1);
      counts[which] += 1;
      for (const [a, b] of this.cells(i)) {
        const place = b * n + a;
        kind[place] = which;
        columns.predicted[place] = predicted;
        columns.margin[place] = table.margin.values[base + i];
      }
    }
    const { ndarray } = Bokeh.require("core/util/ndarray");
    const image = ndarray(kind, { dtype: "float32", shape: [n, n] });
    const wrapped = Object.fromEntries(Object.entries(columns).map(([name, values]) => [name, [values]]));
    page.fill("table", { kind: [image], x: [-0.5], y: [-0.5], dw: [n], dh: [n], ...wrapped });
    const mapper = page.figure("table").renderers.find(({ name }) => name === "cells").glyph.color_mapper;
    const colours = names.map((name) => palette[name]);
    if (mapper.palette.join() !== colours.join()) mapper.palette = colours;
    names.forEach((name, which) => { page.get(`count-${name}`).textContent = String(counts[which]); });
    for (const swatch of document.querySelectorAll("#counts .swatch")) swatch.style.background = palette[swatch.dataset.kind];
  }
}
