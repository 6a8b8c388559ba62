"use strict";

const valueOf = (row, index) => row.children[index].dataset.value;

/** Compare as numbers if both are, else as text; what is missing comes last in either order. */
function compare(first, second, sign) {
  if (first === undefined || second === undefined) {
    return (first === undefined) - (second === undefined);
  }
  const difference = Number(first) - Number(second);
  return sign * (Number.isNaN(difference) ? first.localeCompare(second) : difference);
}

function sortBy(header) {
  const table = header.closest("table");
  const index = [...header.parentNode.children].indexOf(header);
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const isText = rows.some((row) => Number.isNaN(Number(valueOf(row, index) ?? 0)));
  const first = isText ? "ascending" : "descending";
  const other = isText ? "descending" : "ascending";
  const order = header.getAttribute("aria-sort") === first ? other : first;
  for (const each of header.parentNode.children) each.removeAttribute("aria-sort");
  header.setAttribute("aria-sort", order);
  const sign = order === "ascending" ? 1 : -1;
  rows.sort((a, b) => compare(valueOf(a, index), valueOf(b, index), sign));
  body.append(...rows);
}

const namesOf = (row) =>
  [...row.querySelectorAll("th, .text")].map((cell) => cell.dataset.value).join(" ").toLowerCase();

/** Show rows with all the words; a word that a table has in no row is about other tables. */
function filterRows(text) {
  const words = text.toLowerCase().split(/\s+/).filter(Boolean);
  for (const table of document.querySelectorAll("table")) {
    const rows = [...table.tBodies[0].rows];
    const known = words.filter((word) => rows.some((row) => namesOf(row).includes(word)));
    for (const row of rows) row.hidden = !known.every((word) => namesOf(row).includes(word));
    const shown = rows.filter((row) => !row.hidden).length;
    const count = table.closest("figure").querySelector(".count");
    count.textContent = `${shown} of ${rows.length} rows`;
    count.hidden = shown === rows.length;
  }
}

for (const button of document.querySelectorAll("thead button")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}
document.getElementById("filter").addEventListener("input", (event) => {
  filterRows(event.target.value);
});
document.getElementById("seeds").addEventListener("change", (event) => {
  document.body.classList.toggle("by-seed", event.target.checked);
});
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details")) details.open = true;
});
