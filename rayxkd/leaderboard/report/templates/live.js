"use strict";

/* Follow a scan: ask for its version, and put in what has changed without losing the reader's place. */

function placeOf(element) {
  if (!element || element === document.body) return null;
  if (element.id) return () => document.getElementById(element.id);
  const heading = element.closest("th");
  const table = heading && heading.closest("table");
  if (!table) return null;
  const column = heading.cellIndex;
  const caption = table.caption.id;
  return () => document.getElementById(caption)?.closest("table").tHead.rows[0].cells[column]?.querySelector("button");
}

function stateOf(main) {
  const sorted = [...main.querySelectorAll("table.sortable")].map((table) => {
    const heading = table.tHead.querySelector("[aria-sort]");
    return heading && [table.caption.id, heading.cellIndex, heading.getAttribute("aria-sort")];
  });
  return {
    sorted: sorted.filter(Boolean),
    filter: main.querySelector("#filter")?.value ?? "",
    chosen: main.querySelector("input[name=closeup]:checked")?.value,
    open: [...main.querySelectorAll("details[open] > summary")].map((one) => one.textContent),
    scrolled: [...main.querySelectorAll(".scroll")].map((box) => [
      box.getAttribute("aria-labelledby") ?? box.getAttribute("aria-label"), box.scrollLeft, box.scrollTop,
    ]),
    focus: placeOf(document.activeElement),
    y: window.scrollY,
  };
}

function restore(main, state) {
  for (const [caption, column, way] of state.sorted) {
    const table = document.getElementById(caption)?.closest("table");
    if (table && table.tHead.rows[0].cells[column]) sortBy(table, column, way === "ascending");
  }
  const filter = main.querySelector("#filter");
  if (filter && state.filter) {
    filter.value = state.filter;
    filter.dispatchEvent(new Event("input"));
  }
  const chosen = state.chosen && document.getElementById(`choose-${state.chosen}`);
  if (chosen) chosen.checked = true;
  for (const summary of main.querySelectorAll("details > summary")) {
    if (state.open.includes(summary.textContent)) summary.parentElement.open = true;
  }
  const boxes = [...main.querySelectorAll(".scroll")];
  for (const [name, left, top] of state.scrolled) {
    const named = (box) => (box.getAttribute("aria-labelledby") ?? box.getAttribute("aria-label")) === name;
    boxes.find(named)?.scrollTo({ left, top, behavior: "instant" });
  }
  window.scrollTo({ top: state.y, behavior: "instant" });
  state.focus?.()?.focus({ preventScroll: true });
}

async function replace() {
  const answer = await fetch("./", { cache: "no-store" });
  if (!answer.ok) throw new Error(answer.statusText);
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const main = document.querySelector("main");
  const state = stateOf(main);
  for (const part of ["header", "nav"]) {
    document.querySelector(part).replaceWith(document.adoptNode(fresh.querySelector(part)));
  }
  const next = document.adoptNode(fresh.querySelector("main"));
  main.replaceWith(next);
  enhance(next);
  restore(next, state);
}

async function follow() {
  const told = document.getElementById("live");
  const wait = 1000 * Number(told.dataset.every);
  let next = wait;
  try {
    const answer = await fetch("./version", { cache: "no-store" });
    if (!answer.ok) throw new Error(answer.statusText);
    const found = await answer.json();
    if (found.version !== told.dataset.version) await replace();
    else if (told.dataset.lost) await replace();
    if (found.done) next = Math.max(wait, 10000);
  } catch {
    told.dataset.lost = "yes";
    told.textContent = "The server does not answer: this is what was known last.";
  }
  setTimeout(follow, next);
}

setTimeout(follow, 1000 * Number(document.getElementById("live").dataset.every));
