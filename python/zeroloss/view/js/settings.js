// The settings, the outcome and the command that repeats the run.
function writeSettings(page, about) {
  page.get("outcome").textContent = about.outcome;
  page.get("repeat-sentence").textContent = about.repeat.sentence;
  page.get("command").textContent = about.repeat.command;
  page.get("configuration").textContent = about.repeat.text;
  page.get("details").hidden = about.repeat.text === "";
  const tables = about.sections.filter((section) => section.rows.length).map((section) => {
    const table = element("table");
    table.append(element("caption", section.title), element("tbody"));
    for (const [name, value] of section.rows) {
      const row = element("tr");
      row.append(element("th", name, { scope: "row" }), element("td", value));
      table.tBodies[0].append(row);
    }
    return table;
  });
  page.get("sections").replaceChildren(...tables);
}
