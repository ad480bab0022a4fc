// The map of a sweep: a table with a button for each pair of values of two keys, and the runs behind the chosen button.
const MOST_LISTED = 200;

// Colours for numbers: { low, high, log, at }, where at(value) is the place from 0 to 1.
function makeShades(values) {
  const finite = values.filter(Number.isFinite);
  const low = finite.reduce((a, b) => Math.min(a, b), Infinity);
  const high = finite.reduce((a, b) => Math.max(a, b), -Infinity);
  const log = low > 0 && high > 10 * low;
  const place = (value) => (log ? Math.log(value) : value);
  const at = (value) => (high > low ? (place(value) - place(low)) / (place(high) - place(low)) : 0.5);
  return { low, high, log, at, count: finite.length };
}

class Squares {
  constructor(page) {
    Object.assign(this, { page, chosen: null });
  }

  // The cells of the square at a place of each axis; the second axis may be missing.
  cellsAt(places) {
    const { page } = this;
    return page.shown().filter((cell) => page.axes.every((dim, i) => page.placeOf(cell, dim) === places[i]));
  }

  draw() {
    const { page } = this;
    const [x, y] = page.axes.map((dim) => page.data.dims[dim]);
    const [columns, rows] = [x.labels.length, y === undefined ? 1 : y.labels.length];
    const groups = Array.from({ length: columns * rows }, () => []);
    for (const cell of page.shown()) {
      const row = y === undefined ? 0 : page.placeOf(cell, page.axes[1]);
      groups[row * columns + page.placeOf(cell, page.axes[0])].push(cell);
    }
    const values = groups.map((cells) => page.medianOf(cells));
    const shades = makeShades(values);
    const title = `${page.quantityText()}${page.quantity !== null && groups.some((cells) => cells.length > 1) ? ", median" : ""}`;
    page.get("map-title").textContent = title;
    const table = element("table", undefined, { class: "map", "aria-label": title });
    const head = element("tr");
    head.append(element("td", y === undefined ? "" : `${y.name} ↑`, { class: "corner" }));
    for (const label of x.labels) head.append(element("th", label, { scope: "col" }));
    const body = element("tbody");
    for (let row = rows - 1; row >= 0; row--) {
      const line = element("tr");
      line.append(element("th", y === undefined ? "" : y.labels[row], { scope: "row" }));
      for (let column = 0; column < columns; column++) {
        const place = row * columns + column;
        const square = element("td");
        square.append(this.button(values[place], groups[place], shades, [column, row]));
        line.append(square);
      }
      body.append(line);
    }
    const foot = element("tfoot");
    foot.append(head);
    table.append(body, foot);
    const name = element("tr");
    name.append(element("td"), element("td", `${x.name} →`, { colspan: columns, class: "corner" }));
    foot.append(name);
    page.get("map").replaceChildren(table);
    this.drawLegend(shades);
    this.list();
  }

  button(value, cells, shades, places) {
    const { page } = this;
    const text = page.words(value, cells);
    const other = page.otherEndings(cells);
    const where = page.axes.map((dim, i) => `${page.data.dims[dim].name} = ${page.data.dims[dim].labels[places[i]]}`).join(", ");
    const button = element("button", text, { type: "button", "aria-label": `${where}: ${[text, other].filter(Boolean).join("; ")}`,
      title: [where, text, other].filter(Boolean).join("\n"), "aria-pressed": String(places.join() === this.chosen?.join()) });
    if (other && other !== text) button.append(element("small", other));
    if (Number.isFinite(value)) {
      const colour = Math.round(255 * (1 - shades.at(value)));
      button.style.background = page.data.palette[colour];
      button.style.color = colour > 110 ? "#000000" : "#ffffff";
    } else button.className = value === Infinity ? "hatched" : "missing";
    button.addEventListener("click", () => {
      this.chosen = places;
      for (const one of page.get("map").querySelectorAll("button")) one.setAttribute("aria-pressed", String(one === button));
      this.list();
    });
    return button;
  }

  drawLegend({ low, high, log, count }) {
    const bar = this.page.get("shades");
    bar.hidden = count === 0;
    const { palette } = this.page.data;
    const stops = Array.from({ length: 9 }, (_, i) => palette[Math.round((255 * (8 - i)) / 8)]);
    this.page.get("bar").style.background = `linear-gradient(to right, ${stops.join(", ")})`;
    this.page.get("low").textContent = formatNumber(low, 4);
    this.page.get("high").textContent = `${formatNumber(high, 4)}${log ? ", logarithmic" : ""}`;
  }

  // Chooses a square, and shows its runs.
  choose(places) {
    this.chosen = places;
    this.draw();
    this.page.get("runs").scrollIntoView({ block: "center" });
  }

  // Lists the runs of the chosen square, with links to their pages or commands that write them.
  list() {
    const { page } = this;
    page.get("runs").hidden = this.chosen === null;
    if (this.chosen === null) return;
    const { dims, cells: { endings, outcomes, pages } } = page.data;
    const cells = this.cellsAt(this.chosen);
    const table = element("table");
    table.append(element("caption", cells.length > MOST_LISTED ? `${MOST_LISTED} of ${cells.length} runs` : "Runs of the square"));
    const head = element("tr");
    for (const text of [...dims.map(({ name }) => name), "value", "outcome", "page"]) head.append(element("th", text, { scope: "col" }));
    const body = element("tbody");
    for (const cell of cells.slice(0, MOST_LISTED)) {
      const row = element("tr");
      dims.forEach((dim, at) => row.append(element("td", dim.labels[page.placeOf(cell, at)])));
      row.append(element("td", page.words(page.medianOf([cell]), [cell])), element("td", endings[cell], { title: outcomes[cell] }));
      const last = element("td");
      if (pages[cell].link) last.append(element("a", "open its page", { href: pages[cell].link }));
      else last.append(pages[cell].command ? element("code", pages[cell].command) : "not begun");
      row.append(last);
      body.append(row);
    }
    const top = element("thead");
    top.append(head);
    table.append(top, body);
    page.get("run-list").replaceChildren(table);
    const missing = cells.some((cell) => pages[cell].command && !pages[cell].link);
    page.get("run-note").textContent = missing ? "The command writes and opens the page of a run. The page of the sweep has links to the pages that existed when it was written." : "";
  }
}
