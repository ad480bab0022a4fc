// Elements of a page, which get text as text.
function element(tag, text, attributes = {}) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  return made;
}

// A picture of a line { colour, dash } for a legend. Its stroke is line.key.
function keyOf(line) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "key");
  svg.setAttribute("aria-hidden", "true");
  const stroke = document.createElementNS("http://www.w3.org/2000/svg", "line");
  const shape = { x1: 0, x2: 34, y1: 5, y2: 5, "stroke-width": 2.5, "stroke-dasharray": DASHES[line.dash].join(" ") };
  for (const [name, value] of Object.entries(shape)) stroke.setAttribute(name, value);
  svg.append(stroke);
  line.key = stroke;
  return svg;
}

// Shows why the page cannot be drawn.
function reportFailure(error) {
  const failure = document.getElementById("failure");
  failure.hidden = false;
  failure.textContent = `The page cannot be shown: ${error.message}. It needs a browser of 2023 or later.`;
  throw error;
}
