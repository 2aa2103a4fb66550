"use strict";
// ast: expressions are interpreted, never compiled, so that nothing in the data can become a program.
for (const figure of document.querySelectorAll("figure.chart")) {
  const specification = JSON.parse(figure.querySelector("script").textContent);
  vegaEmbed(figure.querySelector(".view"), specification, {
    ast: true,
    mode: "vega-lite",
    renderer: figure.dataset.renderer,
    downloadFileName: figure.dataset.name,
    actions: { export: true, source: false, compiled: false, editor: false },
  }).catch((error) => { figure.dataset.error = error; });
}
