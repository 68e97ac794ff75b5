
"use strict";
// Sorting, filtering, and the ways between table, plots and evidence. Without it the page can be read all the same.
const table = document.getElementById("field");
const body = table.tBodies[0];
const heads = [...table.tHead.rows[0].cells];
const rows = [...body.rows];

const value = (row, place, number) => {
  const cell = row.cells[place];
  if (!number) return cell.textContent;
  return "value" in cell.dataset ? Number(cell.dataset.value) : null;
};

// What is unknown comes last, whichever way the rest is sorted; equal rows keep their order.
const sort = (place, up) => {
  const number = heads[place].dataset.sort === "number";
  const order = (a, b) => (number ? a - b : a.localeCompare(b, "en", { numeric: true, sensitivity: "base" }));
  const keyed = [...body.rows].map((row) => [value(row, place, number), row]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return up ? order(a, b) : order(b, a);
  });
  body.append(...keyed.map(([, row]) => row));
  for (const head of heads) head.removeAttribute("aria-sort");
  heads[place].setAttribute("aria-sort", up ? "ascending" : "descending");
};

heads.forEach((head, place) => {
  if (!head.dataset.sort) return;
  const button = document.createElement("button");
  button.type = "button";
  button.append(...head.childNodes);
  head.append(button);
  button.addEventListener("click", () => sort(place, head.getAttribute("aria-sort") !== "ascending"));
});

const filter = document.getElementById("filter");
const told = rows.map((row) => row.textContent.toLowerCase());
const shown = document.getElementById("shown");
const ofRow = new Map(rows.map((row) => [row.dataset.row, [row]]));
for (const other of document.querySelectorAll("details.audit, .plot a")) ofRow.get(other.dataset.row).push(other);

const apply = () => {
  const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
  let count = 0;
  rows.forEach((row, place) => {
    const fits = words.every((word) => told[place].includes(word));
    count += fits;
    for (const part of ofRow.get(row.dataset.row)) part.toggleAttribute("hidden", !fits);
  });
  shown.textContent = count === rows.length ? `${count} audits` : `${count} of ${rows.length} audits`;
};
filter.addEventListener("input", apply);
document.getElementById("filters").hidden = false;
if (filter.value) apply();

const light = (event) => {
  const row = event.target.closest("tr[data-row]");
  for (const part of document.querySelectorAll(".plot a.lit")) part.classList.remove("lit");
  if (row) for (const part of ofRow.get(row.dataset.row)) if (part.localName === "a") part.classList.add("lit");
};
body.addEventListener("pointerover", light);
body.addEventListener("focusin", light);

// A link to an audit opens it.
const open = () => {
  const found = /^#a\d+$/.test(location.hash) && document.getElementById(location.hash.slice(1));
  if (!found) return;
  found.open = true;
  found.scrollIntoView();
};
addEventListener("hashchange", open);
document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='#a']");
  if (link && link.getAttribute("href") === location.hash) open();
});
open();
