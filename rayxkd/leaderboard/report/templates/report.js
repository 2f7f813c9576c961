"use strict";

/* Sort, filter and highlight; all of the page can be read without. */

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

/* The value of a cell: a number where it is one, null where nothing stands there. */
function valueOf(cell) {
  if (cell.dataset.value !== undefined) return Number(cell.dataset.value);
  const text = cell.textContent.trim();
  if (cell.matches(".word, th")) return text || null;
  const number = Number.parseFloat(text.replaceAll("−", "-").replaceAll(",", ""));
  return Number.isNaN(number) ? null : number;
}

function compare(one, other) {
  return typeof one === "string" ? collator.compare(one, String(other)) : one - other;
}

function sortBy(table, column, rises) {
  const body = table.tBodies[0];
  const entries = [...body.rows].map((row) => [valueOf(row.cells[column]), row]);
  const known = entries.filter(([value]) => value !== null);
  known.sort(([one], [other]) => (rises ? compare(one, other) : compare(other, one)));
  const unknown = entries.filter(([value]) => value === null);
  body.append(...[...known, ...unknown].map(([, row]) => row));
  for (const heading of table.tHead.rows[0].cells) heading.removeAttribute("aria-sort");
  table.tHead.rows[0].cells[column].setAttribute("aria-sort", rises ? "ascending" : "descending");
}

function makeSortable(table) {
  for (const [column, heading] of [...table.tHead.rows[0].cells].entries()) {
    const button = document.createElement("button");
    button.type = "button";
    const figure = heading.querySelector("svg");
    figure?.remove();
    button.textContent = heading.textContent.trim();
    heading.replaceChildren(button, ...(figure ? [figure] : []));
    button.addEventListener("click", () => {
      const now = heading.getAttribute("aria-sort");
      sortBy(table, column, now ? now !== "ascending" : heading.dataset.rises !== undefined);
    });
  }
}

function filterRows(root) {
  const input = root.querySelector("#filter");
  if (!input) return;
  const rows = [...root.querySelectorAll(".ranking tbody tr")];
  const texts = rows.map((row) => {
    const words = [...row.querySelectorAll("th, td.word:not(.range)")];
    return words.map((cell) => cell.textContent.toLowerCase()).join(" ");
  });
  const told = root.querySelector("#filtered");
  const points = [...root.querySelectorAll("circle[data-teacher]")];
  const apply = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    const hidden = new Set();
    rows.forEach((row, place) => {
      row.hidden = !words.every((word) => texts[place].includes(word));
      if (row.hidden) hidden.add(row.dataset.teacher);
    });
    for (const point of points) point.classList.toggle("dim", hidden.has(point.dataset.teacher));
    told.textContent = words.length ? `${rows.length - hidden.size} of ${rows.length}` : "";
  };
  input.closest(".filter").hidden = false;
  input.addEventListener("input", apply);
}

/* A teacher that is pointed at is lit wherever else it stands. */
function highlight(root) {
  const light = (event, on) => {
    const found = event.target.closest("[data-teacher]");
    if (!found) return;
    for (const one of root.querySelectorAll(`[data-teacher="${found.dataset.teacher}"]`)) {
      one.classList.toggle("lit", on);
    }
  };
  for (const name of ["pointerover", "focusin"]) root.addEventListener(name, (e) => light(e, true));
  for (const name of ["pointerout", "focusout"]) root.addEventListener(name, (e) => light(e, false));
}

function choose(root) {
  for (const link of root.querySelectorAll("a[data-closeup]")) {
    link.addEventListener("click", () => {
      const choice = document.getElementById(`choose-${link.dataset.closeup}`);
      if (choice) choice.checked = true;
    });
  }
}

function enhance(root) {
  root.querySelectorAll("table.sortable").forEach(makeSortable);
  filterRows(root);
  highlight(root);
  choose(root);
}

enhance(document.querySelector("main"));
