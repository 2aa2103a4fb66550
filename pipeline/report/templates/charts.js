"use strict";
// Draws charts when they come near the screen, all of them for paper; saves them; filters them with the tables.
const NEAR = "600px", MANY = 24; // more rows than these in a table: the page has a filter of its own

// Columns are lists, runs of equal values, or a cycle of values that is repeated to the end.
function unpack({ count, columns }) {
  const names = Object.keys(columns);
  const lists = Object.values(columns).map((column) => {
    if (column.runs) return column.runs.flatMap(([value, times]) => Array(times).fill(value));
    return column.cycle ? Array.from({ length: count }, (_, row) => column.cycle[row % column.cycle.length]) : column;
  });
  return Array.from({ length: count }, (_, row) => Object.fromEntries(names.map((name, index) => [name, lists[index][row]])));
}

const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

// A specification of what is left of many networks: no empty panels, nobody else in the legends.
function narrowed(part, rows) {
  if (Array.isArray(part)) return part.map((one) => narrowed(one, rows));
  if (part === null || typeof part !== "object") return part;
  const copy = Object.fromEntries(Object.entries(part).map(([key, value]) => [key, narrowed(value, rows)]));
  if (copy.concat) copy.concat = copy.concat.filter((panel) => rows.some((row) => panelOf(panel) === row.panel));
  if (copy.field === "network" && copy.scale?.domain && copy.scale.range) {
    const left = new Set(rows.map((row) => row.network));
    const keep = (list) => list.filter((_, place) => left.has(part.scale.domain[place]));
    copy.scale = { ...copy.scale, domain: keep(copy.scale.domain), range: keep(copy.scale.range) };
  }
  return copy;
}

const panelOf = (panel) => Number((panel.layer?.[0] ?? panel).transform[0].filter.match(/^datum\.panel === (\d+)/)[1]);

// Lines beside each other: clicks on names in a legend show the lines of these names alone, in all panels.
function withToggles(template) {
  if (!template.concat) return template;
  const copy = structuredClone(template);
  for (const panel of copy.concat) {
    const units = panel.layer ?? [panel], line = units.at(-1), name = `shown${panelOf(panel)}`;
    if (line.encoding.color?.field !== "network") continue;
    if (line.encoding.color.legend) {
      line.params = [{ name, select: { type: "point", fields: ["network"], toggle: "true" }, bind: "legend" }];
    }
    for (const unit of units) {
      const full = unit.mark.opacity ?? 1;
      unit.encoding.opacity = { condition: { param: name, value: full }, value: full / 10 };
    }
  }
  return copy;
}

function makeChart(figure) {
  const view = figure.querySelector(".view"), scroll = figure.querySelector(".scroll");
  const error = (problem) => { figure.dataset.error = problem; };
  let whole = null, embedded = null, words = [], drawn = null, drawing = Promise.resolve();

  function content() {
    if (!whole) {
      const [template, packed] = JSON.parse(figure.querySelector("script").textContent);
      whole = { template, rows: unpack(packed) };
      const titles = {};
      for (const panel of template.concat ?? []) titles[panelOf(panel)] ||= panel.title ?? panel.layer?.[0].title;
      whole.texts = whole.rows.map((row) => {
        const texts = Object.values(row).filter((value) => typeof value === "string");
        return [titles[row.panel], ...texts].join(" ").toLowerCase();
      });
    }
    return whole;
  }
  function shown() { // charts of one network, or of classes, are shown whole or not at all
    const { template, rows, texts } = content();
    if (!words.length || new Set(rows.map((row) => row.network)).size < 2) return { template, rows };
    const left = rows.filter((_, place) => words.every((word) => texts[place].includes(word)));
    return { template: narrowed(template, left), rows: left };
  }
  // ast: expressions are interpreted, never compiled, so that nothing in the data can become a program.
  async function paint() {
    const { template, rows } = shown();
    embedded?.finalize();
    embedded = await vegaEmbed(view, { ...withToggles(template), datasets: { rows } }, {
      ast: true, mode: "vega-lite", renderer: figure.dataset.renderer, actions: false,
    }).catch(error);
    view.removeAttribute("style"); // the room that was kept free
    fit();
  }
  function draw() {
    if (drawn !== words.join(" ")) {
      drawn = words.join(" ");
      drawing = drawing.then(paint);
    }
    return drawing;
  }
  function fit() {
    if (scroll.scrollWidth > scroll.clientWidth + 1) scroll.tabIndex = 0; else scroll.removeAttribute("tabindex");
  }
  function save(kind) {
    draw().then(() => embedded.view.toImageURL(kind, 2)).then((url) => {
      element("a", { href: url, download: `${figure.dataset.name}.${kind}` }).click();
    }).catch(error);
  }
  function filter(wanted) {
    words = wanted;
    figure.hidden = shown().rows.length === 0;
  }
  const buttons = ["svg", "png"].map((kind) => {
    const label = `Save chart ${figure.dataset.name} as ${kind.toUpperCase()}`;
    const button = element("button", { type: "button", ariaLabel: label }, kind.toUpperCase());
    button.addEventListener("click", () => save(kind));
    return button;
  });
  const hint = figure.dataset.lines ? " Clicks on names in a legend show their lines alone." : "";
  scroll.after(element("div", { className: "tools save" }, "Save as ", ...buttons, hint));
  return { figure, draw, fit, filter };
}

const charts = new Map([...document.querySelectorAll("figure.chart")].map((figure) => [figure, makeChart(figure)]));
const near = new Set();

// One after the other, with pauses: the page can be read and used meanwhile.
let busy = false;
async function drawNear() {
  if (busy) return;
  busy = true;
  for (const chart of near) {
    near.delete(chart);
    await chart.draw();
    await new Promise((resolve) => { setTimeout(resolve, 0); });
  }
  busy = false;
}

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) near.add(charts.get(target)); else near.delete(charts.get(target));
  }
  drawNear();
}, { rootMargin: NEAR });
charts.forEach((chart, figure) => observer.observe(figure));
addEventListener("resize", () => charts.forEach((chart) => chart.fit()));

function filterPage(text) {
  const words = wordsOf(text);
  tables.forEach((table) => table.filter(words));
  charts.forEach((chart, figure) => {
    chart.filter(words);
    observer.unobserve(figure); // observed again, it is looked at again
    observer.observe(figure);
  });
  for (const more of document.querySelectorAll("details.more")) {
    more.open = words.length > 0;
    more.hidden = [...more.querySelectorAll("figure.chart")].every((figure) => figure.hidden);
  }
}

let clear = () => {};
if (tables.some((table) => table.count > MANY)) {
  const input = element("input", { type: "search", placeholder: "words that a network's row has" });
  let timer = 0;
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => filterPage(input.value), 150);
  });
  clear = () => { if (input.value) filterPage(input.value = ""); };
  document.querySelector("header").append(
    element("p", { className: "tools whole" }, element("label", {}, "Filter all tables and charts ", input)),
  );
}

addEventListener("beforeprint", () => { // paper has everything
  clear();
  charts.forEach((chart) => chart.draw());
});
