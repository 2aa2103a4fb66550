"use strict";
// ast: expressions are interpreted, never compiled, so that nothing in the data can become a program.
async function draw(figure) {
  const [template, { columns, data }] = JSON.parse(figure.querySelector("script").textContent);
  const rows = data.map((row) => Object.fromEntries(columns.map((column, index) => [column, row[index]])));
  await vegaEmbed(figure.querySelector(".view"), { ...template, datasets: { rows } }, {
    ast: true,
    mode: "vega-lite",
    renderer: figure.dataset.renderer,
    downloadFileName: figure.dataset.name,
    actions: { export: true, source: false, compiled: false, editor: false },
  }).catch((error) => { figure.dataset.error = error; });
  const scroll = figure.querySelector(".scroll");
  if (scroll.scrollWidth > scroll.clientWidth + 1) scroll.tabIndex = 0;
}

// One after the other, with pauses: the page can be read from the start.
(async () => {
  for (const figure of document.querySelectorAll("figure.chart")) {
    await draw(figure);
    await new Promise((resolve) => { setTimeout(resolve, 0); });
  }
})();
