// Colours that colour-blind readers can distinguish (after Okabe and Ito), with a contrast of 3 to 1 on both backgrounds.
const PALETTES = {
  light: { blue: "#0072b2", vermilion: "#d55e00", green: "#00866a", orange: "#b37400", purple: "#aa4e8b", sky: "#3a93c9",
    grey: "#6b7280", event: "#6b7280", cursor: "#1b1f24", text: "#1b1f24", line: "#d0d7de", disc: "#cfe6f5",
    rightTrain: "#0072b2", rightTest: "#86bfe2", wrongTrain: "#d55e00", wrongTest: "#f3b184", dots: "#1b1f24" },
  dark: { blue: "#4da3e0", vermilion: "#ff8533", green: "#2cc295", orange: "#f0b429", purple: "#e08ec0", sky: "#8fd3f4",
    grey: "#9aa4ae", event: "#9aa4ae", cursor: "#e6edf3", text: "#e6edf3", line: "#3b434c", disc: "#1d4a66",
    rightTrain: "#3d8fca", rightTest: "#1f4f73", wrongTrain: "#ff8533", wrongTest: "#8f4a1c", dots: "#e6edf3" },
};
const DASHES = { solid: [], dashed: [6], dotted: [2, 4], dotdash: [2, 4, 6, 4] };
let palette = PALETTES.light;

function paintGlyph(glyph, colour) {
  for (const [property, value] of [["line_color", colour], ["fill_color", colour], ["text_color", colour]]) {
    if (glyph.properties[property] !== undefined) glyph[property] = { value };
  }
}

function paintFigure(chart) {
  chart.setv({ background_fill_color: null, border_fill_color: null, outline_line_color: palette.line });
  for (const axis of [...chart.below, ...chart.left]) {
    axis.setv({ axis_label_text_color: palette.text, major_label_text_color: palette.text, axis_line_color: palette.line,
      major_tick_line_color: palette.line, minor_tick_line_color: null, axis_label_text_font_style: "normal" });
  }
  for (const grid of chart.center) if (grid.properties.grid_line_color) grid.grid_line_color = palette.line;
  for (const renderer of chart.renderers) {
    const colour = palette[renderer.colour ?? renderer.name];
    if (renderer.name === "label") paintGlyph(renderer.glyph, palette.text);
    else if (renderer.name === "band") renderer.glyph.fill_color = { value: palette.grey };
    else if (colour !== undefined) paintGlyph(renderer.glyph, colour);
  }
}

function setTheme(name) {
  document.documentElement.dataset.theme = name;
  palette = PALETTES[name];
}

function wantsDark() {
  return window.matchMedia("(prefers-color-scheme: dark)");
}
