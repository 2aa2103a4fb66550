"use strict";
// ast: expressions are interpreted, never compiled, so that nothing in the data can become a program.
for (const figure of document.querySelectorAll("figure.chart")) {
  const [template, { columns, data }] = JSON.parse(figure.querySelector("script").textContent);
  const rows = data.map((row) => Object.fromEntries(columns.map((column, index) => [column, row[index]])));
  vegaEmbed(figure.querySelector(".view"), { ...template, datasets: { rows } }, {
    ast: true,
    mode: "vega-lite",
    renderer: figure.dataset.renderer,
    downloadFileName: figure.dataset.name,
    actions: { export: true, source: false, compiled: false, editor: false },
  }).catch((error) => { figure.dataset.error = error; });
}
