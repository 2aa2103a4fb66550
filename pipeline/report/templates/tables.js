"use strict";
// Sorts and filters tables. Without this script they are whole, in their order; on paper they always are.
const FILTERED = 12; // more rows than these have a filter
const EMPTY = "\u2013";

function element(name, properties, ...children) {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
}

function numberOf(text) {
  const found = text.replaceAll(",", "").match(/^[+-]?\d+(\.\d+)?/);
  return found ? Number(found[0]) : NaN;
}

const isEmpty = (text) => text === "" || text.startsWith(EMPTY) || text === "not run";

// What is empty comes last, whichever way the others go.
function compared(a, b, numeric, direction) {
  if (isEmpty(a) || isEmpty(b)) return isEmpty(a) - isEmpty(b);
  return direction * (numeric ? numberOf(a) - numberOf(b) : a.localeCompare(b, "en", { numeric: true }));
}

function makeTable(figure) {
  const table = figure.querySelector("table"), scroll = figure.querySelector(".scroll");
  const body = table.tBodies[0], original = [...body.rows], heads = [...table.tHead.rows[0].cells];
  const names = heads.map((head) => head.textContent);
  const textOf = (row, column) => row.cells[column].firstChild.textContent.trim();
  const count = element("output", { className: "count" });
  const state = { column: -1, direction: 0 };

  const select = element("select", {}, element("option", { value: "" }, "as given"));
  const buttons = heads.map((head, column) => {
    const button = element("button", { type: "button" }, names[column]);
    button.addEventListener("click", () => sort(column, next(column)));
    head.replaceChildren(button);
    for (const [direction, words] of [[-1, "falling"], [1, "rising"]]) {
      select.append(element("option", { value: `${column} ${direction}` }, `${names[column]}, ${words}`));
    }
    return button;
  });

  function numeric(column) {
    return original.some((row) => !isNaN(numberOf(textOf(row, column)))) && heads[column].classList.contains("number");
  }
  function next(column) { // numbers: the highest first; the third time as given
    const first = numeric(column) ? -1 : 1;
    if (state.column !== column || !state.direction) return first;
    return state.direction === first ? -first : 0;
  }
  function sort(column, direction) {
    Object.assign(state, { column, direction });
    heads.forEach((head, index) => {
      const sorted = direction && index === column ? (direction > 0 ? "ascending" : "descending") : "none";
      head.setAttribute("aria-sort", sorted);
    });
    const [asNumbers, rows] = [numeric(column), [...original]];
    if (direction) {
      rows.sort((one, other) => compared(textOf(one, column), textOf(other, column), asNumbers, direction));
    }
    body.append(...rows);
    select.value = direction ? `${column} ${direction}` : "";
  }
  select.addEventListener("change", () => {
    const [column, direction] = select.value ? select.value.split(" ").map(Number) : [0, 0];
    sort(column, direction);
  });

  function filter(words) {
    let shown = 0;
    for (const row of original) {
      const text = row.textContent.toLowerCase();
      row.hidden = !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    const all = `${original.length} row${original.length === 1 ? "" : "s"}`;
    count.textContent = shown === original.length ? all : `${shown} of ${all}`;
    fitSoon();
  }

  const tools = element("div", { className: "tools" });
  let field = null;
  if (original.length > FILTERED) {
    const input = element("input", { type: "search", placeholder: "words, all of which a row has" });
    input.addEventListener("input", () => filter(input.value.toLowerCase().split(/\s+/).filter(Boolean)));
    field = input;
    tools.append(element("label", {}, "Filter ", input));
  }
  tools.append(element("label", { className: "cards" }, "Sort ", select));
  if (field) tools.append(count);
  const cue = element("p", { className: "cue" }, "This table is larger than its frame: scroll inside it.");
  scroll.before(tools, cue);
  heads.forEach((head) => head.setAttribute("aria-sort", "none"));

  // In steps, so that all tables are measured before any is changed: the page is laid out twice, not forty times.
  const long = figure.classList.contains("framed"); // from the start
  function unframe() { if (!long) figure.classList.remove("framed"); }
  function measure() {
    const framed = long || table.scrollWidth > scroll.clientWidth + 1;
    return () => figure.classList.toggle("framed", framed);
  }
  function measureScroll() {
    const moves = scroll.scrollWidth > scroll.clientWidth + 1 || scroll.scrollHeight > scroll.clientHeight + 1;
    return () => {
      cue.hidden = !moves;
      if (moves) scroll.tabIndex = 0; else scroll.removeAttribute("tabindex");
    };
  }
  function filterWith(words) { // tables that have no networks stay as they are
    if (!field || names[0] !== "Name") return;
    field.value = words.join(" ");
    filter(words);
  }
  filter([]);
  return { unframe, measure, measureScroll, filter: filterWith, count: original.length };
}

function fitAll() {
  fitting = false;
  tables.forEach((table) => table.unframe());
  for (const measure of ["measure", "measureScroll"]) {
    tables.map((table) => table[measure]()).forEach((change) => change());
  }
}
let fitting = false;
function fitSoon() {
  if (!fitting) requestAnimationFrame(fitAll);
  fitting = true;
}

const tables = [...document.querySelectorAll("figure.table")].map(makeTable);
addEventListener("resize", fitAll);
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
fitAll();
