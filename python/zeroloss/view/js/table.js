// The table of predictions: a cell for each pair of numbers.
class Table {
  constructor(page, table) {
    Object.assign(this, { page, table });
    const mirror = Array.from(table.a.values.keys()).filter((i) => table.mirror && table.a.values[i] !== table.b.values[i]);
    const all = Array.from(table.a.values.keys());
    this.samples = [...all, ...mirror];
    this.x = [...all.map((i) => table.a.values[i]), ...mirror.map((i) => table.b.values[i])];
    this.y = [...all.map((i) => table.b.values[i]), ...mirror.map((i) => table.a.values[i])];
    const test = this.samples.map((i, place) => [i, place]).filter(([i]) => table.test.values[i]).map(([, place]) => place);
    this.test = { x: test.map((place) => this.x[place]), y: test.map((place) => this.y[place]) };
    const chart = page.figure("table");
    setRange(chart.x_range, -0.5, table.n - 0.5);
    setRange(chart.y_range, -0.5, table.n - 0.5);
    for (const [key, label] of [["rightTrain", "training, right"], ["wrongTrain", "training, wrong"], ["rightTest", "test, right"], ["wrongTest", "test, wrong"]]) {
      const row = element("tr");
      const swatch = element("span", undefined, { class: "swatch", "data-colour": key, "aria-hidden": "true" });
      const cell = element("td");
      cell.append(swatch);
      row.append(cell, element("th", label, { scope: "row" }), element("td", "", { class: "number", id: `count-${key}` }));
      page.get("counts").tBodies[0].append(row);
    }
  }

  load({ table }) {
    this.table = table;
  }

  show(snapshot) {
    this.snapshot = snapshot;
    this.draw();
  }

  draw() {
    const { page, table, samples } = this;
    const base = this.snapshot * table.a.values.length;
    const counts = { rightTrain: 0, wrongTrain: 0, rightTest: 0, wrongTest: 0 };
    const kind = (i) => (table.predicted.values[base + i] === table.target.values[i] ? "right" : "wrong") + (table.test.values[i] ? "Test" : "Train");
    for (let i = 0; i < table.a.values.length; i++) counts[kind(i)] += 1;
    page.fill("table", {
      x: this.x, y: this.y, fill: samples.map((i) => palette[kind(i)]),
      part: samples.map((i) => (table.test.values[i] ? "test" : "training")), target: samples.map((i) => table.target.values[i]),
      predicted: samples.map((i) => table.predicted.values[base + i]), margin: samples.map((i) => table.margin.values[base + i]),
    });
    page.fill("test cells", this.test);
    for (const [key, count] of Object.entries(counts)) page.get(`count-${key}`).textContent = String(count);
    for (const swatch of document.querySelectorAll("#counts .swatch")) swatch.style.background = palette[swatch.dataset.colour];
  }
}
