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
    const powers = Array.from({ length: m }, (_, k) => Array.from({ length: this.count }, (_, u) => powerOf(F, k, u)).reduce((a, b) => a + b, 0));
    this.frequency = Math.max(0, powers.indexOf(Math.max(...powers)));
    const best = Array.from({ length: this.count }, (_, u) => powerOf(F, this.frequency, u));
    this.unit = Math.max(0, best.indexOf(Math.max(...best)));
    page.get("frequency").value = this.frequency;
    page.get("frequency").addEventListener("change", (event) => { this.frequency = Number(event.target.value); this.draw(); });
    page.get("operand").addEventListener("change", (event) => { this.operand = Number(event.target.value); this.draw(); });
    page.figure("power").on_event("tap", (event) => this.choose(this.order[Math.floor(event.x)]));
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
    if (this.group !== null) {
      this.input = transform(this.units.E, this.snapshot, this.count, this.rows[this.operand]);
      this.output = transform(this.units.W, this.snapshot, this.count, this.group.columns.values);
      this.drawPower();
      this.drawCircle();
      this.drawPhases();
    }
    this.drawUnit();
  }

  drawPower() {
    const { page, input: F } = this;
    const best = Array.from({ length: F.units }, (_, u) => strongest(F, u));
    const share = best.map((k, u) => (F.power[u] > 0 ? powerOf(F, k, u) / F.power[u] : 0));
    this.order = Array.from(best.keys()).sort((a, b) => best[a] - best[b] || share[b] - share[a]);
    const image = new Float32Array(F.m * F.units);
    for (let k = 0; k < F.m; k++) {
      this.order.forEach((u, place) => { image[k * F.units + place] = F.power[u] > 0 ? powerOf(F, k, u) / F.power[u] : NaN; });
    }
    const { ndarray } = Bokeh.require("core/util/ndarray");
    page.fill("power", { image: [ndarray(image, { dtype: "float32", shape: [F.m, F.units] })], x: [0], y: [0.5], dw: [F.units], dh: [F.m] });
    const chart = page.figure("power");
    setRange(chart.x_range, 0, F.units);
    setRange(chart.y_range, 0.5, F.m + 0.5);
    const mean = this.order.reduce((sum, u) => sum + powerOf(F, best[u], u), 0) / F.power.reduce((a, b) => a + b, 0);
    const strong = F.power.filter((power) => power > STRONG * Math.max(...F.power)).length;
    page.get("frequency-summary").textContent = `Strongest frequencies have ${formatNumber(mean, 4)} of the power. ` +
      `${strong} of ${F.units} units have more than 1 % of the strongest unit's power.`;
    Object.assign(this, { best, share });
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
    const { page, input: F, output: G, best, share } = this;
    const most = Math.max(...F.power);
    const parts = { phases: [], "other phases": [] };
    for (let u = 0; u < F.units; u++) {
      if (F.power[u] > STRONG * most) parts[best[u] === this.frequency ? "phases" : "other phases"].push(u);
    }
    for (const [name, units] of Object.entries(parts)) {
      page.fill(name, {
        x: units.map((u) => cosineOf(F, best[u], u).phase), y: units.map((u) => cosineOf(G, best[u], u).phase),
        unit: units.map((u) => this.units.units.values[u]), frequency: units.map((u) => best[u] + 1), share: units.map((u) => share[u]),
      });
    }
    const line = { x: [], y: [] };
    for (let i = 0; this.group.doubles && i <= 400; i++) {
      const x = -Math.PI + (2 * Math.PI * i) / 400;
      const y = Math.atan2(Math.sin(2 * x), Math.cos(2 * x));
      if (i && Math.abs(y - line.y.at(-1)) > 1) { line.x.push(x); line.y.push(NaN); }
      line.x.push(x);
      line.y.push(y);
    }
    page.fill("double", line);
    for (const range of [page.figure("phases").x_range, page.figure("phases").y_range]) setRange(range, -3.3, 3.3);
    page.get("phases-caption").textContent = "Phase of each unit's output against the phase of its input, at its strongest frequency. " +
      `Diamonds: frequency ${this.frequency + 1}.` + (this.group.doubles ? " Line: the output has twice the phase of the input." : "");
  }

  drawUnit() {
    const { page, unit } = this;
    const number = this.units.units.values[unit];
    page.get("unit-number").value = number;
    const parts = [["E", this.units.E, this.units.d_in, this.group && this.rows[this.operand]],
      ["W", this.units.W, this.units.d_out, this.group && this.group.columns.values]];
    const words = [];
    for (const [layer, weights, size, order] of parts) {
      const places = order ?? Array.from({ length: size }, (_, j) => j);
      const y = Array.from(places, (place) => weights(this.snapshot, unit, place));
      const x = y.map((_, j) => j);
      const label = Array.from(places, (place) => String(order ? place % this.group.modulus : place));
      page.fill(`column ${layer}`, { x, y, label });
      const curve = { x: [], y: [] };
      if (order) {
        const [F, k] = [layer === "E" ? this.input : this.output, this.best[unit]];
        const fit = cosineOf(F, k, unit);
        for (let i = 0; i <= 300; i++) {
          const at = (i / 300) * (F.n - 1);
          curve.x.push(at);
          curve.y.push(fit.mean + fit.amplitude * Math.cos((2 * Math.PI * (k + 1) * at) / F.n - fit.phase));
        }
        const part = F.power[unit] > 0 ? powerOf(F, k, unit) / F.power[unit] : NaN;
        words.push(`${layer}: amplitude ${formatNumber(fit.amplitude, 4)}, phase ${formatNumber(fit.phase, 4)}, ${formatNumber(100 * part, 4)} % of the power`);
      }
      page.fill(`cosine ${layer}`, curve);
      const chart = page.figure(`column ${layer}`);
      setRange(chart.x_range, -0.7, places.length - 0.3);
      const largest = roundUp(1.05 * Math.max(...[...y, ...curve.y].filter(Number.isFinite).map(Math.abs), 0) || 1);
      setRange(chart.y_range, -largest, largest);
      chart.below[0].axis_label = order ? "place in the group" : layer === "E" ? "input" : "output";
      page.get(`${layer}-caption`).textContent = layer === "E" ? "Weights from the inputs (a column of E)" : "Weights to the outputs (a row of W)";
    }
    const fit = words.length ? ` Cosine of frequency ${this.best[unit] + 1}. ${words.join("; ")}.` : "";
    page.get("unit-summary").textContent = `Unit ${number}, ${unit + 1} of ${this.count} in this page.${fit}`;
    if (this.group !== null) page.fill("marked unit", { x: [this.order.indexOf(unit) + 0.5] });
  }
}
