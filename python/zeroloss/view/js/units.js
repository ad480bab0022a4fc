// The panels of frequencies and of one unit.
const STRONG = 0.01;

class Units {
  constructor(page, units) {
    Object.assign(this, { page, units, group: units.group, count: units.units.values.length, unit: 0, frequency: 0, operand: 0 });
    const number = page.get("unit-number");
    number.max = units.hidden - 1;
    number.addEventListener("change", () => this.choose(units.units.values.indexOf(Number(number.value))));
    page.get("previous-unit").addEventListener("click", () => this.choose(this.unit - 1));
    page.get("next-unit").addEventListener("click", () => this.choose(this.unit + 1));
    if (this.group !== null) this.prepareFrequencies();
    else page.absent("frequencies", "no-group", "The task has no cyclic group, so there are no Fourier frequencies. Panel 3 shows the weights as they are.");
    this.norms = new Chart(page, { name: "unit norms", title: "Norms of the unit", linear: false, undefinedIn: null, level: null,
      lines: [["E", "green", "solid"], ["W", "orange", "dashed"]].map(([layer, colour, dash]) => (
        { label: `‖${layer}‖ of the unit`, about: "", colour, dash, read: () => this.norm(layer) })) }, page.get("norm-charts"));
    page.charts.push(this.norms);
  }

  prepareFrequencies() {
    const { page, group } = this;
    const m = Math.floor(group.columns.values.length / 2);
    this.rows = group.rows.map((one) => one.values);
    for (let k = 1; k <= m; k++) page.get("frequency").append(element("option", String(k), { value: k - 1 }));
    this.rows.forEach((_, place) => page.get("operand").append(element("option", String(place + 1), { value: place })));
    page.get("operand-control").hidden = this.rows.length === 1;
    const last = this.units.steps.values.length - 1;
    const F = transform(this.units.E, last, this.count, this.rows[0]);
    const rows = Array.from({ length: m }, (_, k) => F.powers.subarray(k * F.units, (k + 1) * F.units));
    const powers = rows.map((row) => row.reduce((a, b) => a + b, 0));
    this.frequency = Math.max(0, powers.indexOf(Math.max(...powers)));
    this.unit = Math.max(0, rows[this.frequency].indexOf(Math.max(...rows[this.frequency])));
    page.get("frequency").value = this.frequency;
    page.get("frequency").addEventListener("change", (event) => { this.frequency = Number(event.target.value); this.draw(); });
    page.get("operand").addEventListener("change", (event) => { this.operand = Number(event.target.value); this.draw(); });
    page.figure("power").on_event("tap", (event) => this.choose(this.input.order[Math.floor(event.x)]));
    const line = { x: [], y: [] };
    for (let i = 0; group.doubles && i <= 400; i++) {
      const x = -Math.PI + (2 * Math.PI * i) / 400;
      const y = Math.atan2(Math.sin(2 * x), Math.cos(2 * x));
      if (i && Math.abs(y - line.y.at(-1)) > 1) { line.x.push(x); line.y.push(NaN); }
      line.x.push(x);
      line.y.push(y);
    }
    page.fill("double", line);
    for (const range of [page.figure("phases").x_range, page.figure("phases").y_range]) setRange(range, -3.3, 3.3);
    setRange(page.figure("power").x_range, 0, this.count);
    setRange(page.figure("power").y_range, 0.5, m + 0.5);
  }

  // The Fourier features of E (for the chosen operand) and of W at the shown snapshot.
  get input() {
    return this.features.E ??= transform(this.units.E, this.snapshot, this.count, this.rows[this.operand]);
  }

  get output() {
    return this.features.W ??= transform(this.units.W, this.snapshot, this.count, this.group.columns.values);
  }

  choose(unit) {
    if (unit === undefined || unit < 0 || unit >= this.count) return this.drawUnit();
    this.unit = unit;
    this.norms.load();
    this.norms.draw();
    this.norms.follow(this.page.step);
    this.drawUnit();
  }

  // The norm of the unit's weights in a layer, over the snapshots.
  norm(layer) {
    const { steps } = this.units;
    const [weights, entries] = layer === "E" ? [this.units.E, this.units.d_in] : [this.units.W, this.units.d_out];
    const values = Array.from(steps.values.keys(), (snapshot) => {
      let sum = 0;
      for (let j = 0; j < entries; j++) sum += weights(snapshot, this.unit, j) ** 2;
      return Math.sqrt(sum);
    });
    return { run: this.page.runs[0], steps: steps.values, values };
  }

  // Takes newer data. The chosen unit stays if the page still has it.
  load({ units }) {
    const number = this.units.units.values[this.unit];
    this.units = units;
    this.unit = Math.max(0, units.units.values.indexOf(number));
  }

  show(snapshot) {
    this.snapshot = snapshot;
    this.draw();
  }

  draw() {
    this.features = {};
    if (this.group !== null) {
      this.page.show("power", "image", () => this.drawPower());
      this.page.show("circle", "points", () => this.drawCircle());
      this.page.show("phases", "points", () => this.drawPhases());
    }
    this.drawUnit();
  }

  drawPower() {
    const { page, input: F } = this;
    const image = new Float32Array(F.m * F.units);
    for (let place = 0; place < F.units; place++) {
      const u = F.order[place];
      for (let k = 0; k < F.m; k++) image[k * F.units + place] = F.total[u] > 0 ? F.powers[k * F.units + u] / F.total[u] : NaN;
    }
    const { ndarray } = Bokeh.require("core/util/ndarray");
    page.fill("power", { image: [ndarray(image, { dtype: "float32", shape: [F.m, F.units] })], x: [0], y: [0.5], dw: [F.units], dh: [F.m] });
    const sum = F.total.reduce((a, b) => a + b, 0);
    const mean = F.shares.reduce((a, share, u) => a + share * F.total[u], 0) / sum;
    const most = Math.max(...F.total);
    const strong = F.total.filter((power) => power > STRONG * most).length;
    page.get("frequency-summary").textContent = `Strongest frequencies have ${formatNumber(mean, 4)} of the power. ` +
      `${strong} of ${F.units} units have more than 1 % of the strongest unit's power.`;
  }

  drawCircle() {
    const { page, input: F, frequency: k } = this;
    const rows = this.rows[this.operand];
    const [re, im] = [F.re, F.im].map((part) => part.slice(k * F.units, (k + 1) * F.units));
    const lengths = [re, im].map((part) => Math.sqrt(part.reduce((sum, v) => sum + v * v, 0)));
    const project = (row, part, length) => {
      let sum = 0;
      for (let u = 0; u < F.units; u++) sum += this.units.E(this.snapshot, u, row) * part[u];
      return length > 0 ? sum / length : NaN;
    };
    const x = Array.from(rows, (row) => project(row, re, lengths[0]));
    const y = Array.from(rows, (row) => project(row, im, lengths[1]));
    page.fill("circle", { x, y, label: Array.from(rows, (row) => String(row % this.group.modulus)) });
    const turn = (j) => (j * (k + 1)) % F.n; // Numbers with the next turn are neighbours on a perfect circle.
    const around = Array.from(x.keys()).sort((i, j) => turn(i) - turn(j) || i - j);
    page.fill("circle order", { x: [...around, around[0]].map((j) => x[j]), y: [...around, around[0]].map((j) => y[j]) });
    const most = roundUp(1.15 * Math.max(0, ...[...x, ...y].filter(Number.isFinite).map(Math.abs)) || 1);
    for (const range of [page.figure("circle").x_range, page.figure("circle").y_range]) setRange(range, -most, most);
    page.get("circle-caption").textContent = `The embedding in the plane of frequency ${k + 1}, spanned by Re F and Im F. ` +
      `Their norms are ${formatNumber(lengths[0], 4)} and ${formatNumber(lengths[1], 4)}.`;
  }

  drawPhases() {
    const { page, input: F, output: G } = this;
    const most = Math.max(...F.total);
    const parts = { phases: [], "other phases": [] };
    for (let u = 0; u < F.units; u++) {
      if (F.total[u] > STRONG * most) parts[F.best[u] === this.frequency ? "phases" : "other phases"].push(u);
    }
    for (const [name, units] of Object.entries(parts)) {
      page.fill(name, {
        x: units.map((u) => cosineOf(F, F.best[u], u).phase), y: units.map((u) => cosineOf(G, F.best[u], u).phase),
        unit: units.map((u) => this.units.units.values[u]), frequency: units.map((u) => F.best[u] + 1), share: units.map((u) => F.shares[u]),
      });
    }
    page.get("phases-caption").textContent = "Phase of each unit's output against the phase of its input, at its strongest frequency. " +
      `Diamonds: frequency ${this.frequency + 1}.` + (this.group.doubles ? " Line: the output has twice the phase of the input." : "");
  }

  drawUnit() {
    const { page, units } = this;
    page.get("unit-number").value = units.units.values[this.unit];
    page.show("column E", "column", () => this.drawColumn("E", units.d_in, this.group && this.rows[this.operand]));
    page.show("column W", "column", () => this.drawColumn("W", units.d_out, this.group && this.group.columns.values));
    page.show("column E", "summary", () => this.writeSummary());
    if (this.group !== null) page.show("power", "mark", () => page.fill("marked unit", { x: [this.input.order.indexOf(this.unit) + 0.5] }));
  }

  // The features of a layer and the cosine of its unit, at the strongest frequency of the weights from the inputs.
  fit(layer) {
    const F = layer === "E" ? this.input : this.output;
    const k = this.input.best[this.unit];
    const total = F.total[this.unit];
    return { k, n: F.n, ...cosineOf(F, k, this.unit), share: total > 0 ? F.powers[k * F.units + this.unit] / total : NaN };
  }

  drawColumn(layer, size, order) {
    const { page, unit } = this;
    const places = order ?? Array.from({ length: size }, (_, j) => j);
    const y = Array.from(places, (place) => this.units[layer](this.snapshot, unit, place));
    const label = Array.from(places, (place) => String(order ? place % this.group.modulus : place));
    page.fill(`column ${layer}`, { x: y.map((_, j) => j), y, label });
    const curve = { x: [], y: [] };
    if (order) {
      const { k, n, mean, amplitude, phase } = this.fit(layer);
      for (let i = 0; i <= 300; i++) {
        const at = (i / 300) * (n - 1);
        curve.x.push(at);
        curve.y.push(mean + amplitude * Math.cos((2 * Math.PI * (k + 1) * at) / n - phase));
      }
    }
    page.fill(`cosine ${layer}`, curve);
    const chart = page.figure(`column ${layer}`);
    setRange(chart.x_range, -0.7, places.length - 0.3);
    const largest = roundUp(1.05 * Math.max(...[...y, ...curve.y].filter(Number.isFinite).map(Math.abs), 0) || 1);
    setRange(chart.y_range, -largest, largest);
    chart.below[0].axis_label = order ? "place in the group" : layer === "E" ? "input" : "output";
    page.get(`${layer}-caption`).textContent = layer === "E" ? "Weights from the inputs (a column of E)" : "Weights to the outputs (a row of W)";
  }

  writeSummary() {
    const { unit, units } = this;
    const words = this.group === null ? [] : ["E", "W"].map((layer) => {
      const { amplitude, phase, share } = this.fit(layer);
      return `${layer}: amplitude ${formatNumber(amplitude, 4)}, phase ${formatNumber(phase, 4)}, ${formatNumber(100 * share, 4)} % of the power`;
    });
    const fit = words.length ? ` Cosine of frequency ${this.input.best[unit] + 1}. ${words.join("; ")}.` : "";
    this.page.get("unit-summary").textContent = `Unit ${units.units.values[unit]}, ${unit + 1} of ${this.count} in this page.${fit}`;
  }
}
