"use strict";
const table = document.getElementById("verdicts");
const body = table.tBodies[0];
const lines = [...body.rows];
const count = document.getElementById("count");

const valueOf = (row, at) => row.cells[at].dataset.value ?? row.cells[at].textContent.trim();

function sortBy(at, head) {
  const down = head.getAttribute("aria-sort") === "ascending";
  for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", down ? "descending" : "ascending");
  const numbers = head.dataset.sort === "number";
  const sorted = [...lines].sort((one, other) => {
    const [a, b] = [valueOf(one, at), valueOf(other, at)];
    if (a === "" || b === "") return (a === "") - (b === "");  // what was not measured comes last either way
    const order = numbers ? Number(a) - Number(b) : a.localeCompare(b);
    return down ? -order : order;
  });
  body.append(...sorted);
}

[...table.tHead.rows[0].cells].forEach((head, at) => {
  head.querySelector("button").addEventListener("click", () => sortBy(at, head));
});

const chosen = [...document.querySelectorAll(".filters select")];
function filter() {
  let shown = 0;
  for (const row of lines) {
    row.hidden = chosen.some((one) => one.value !== "" && row.dataset[one.name] !== one.value);
    shown += !row.hidden;
  }
  count.textContent = `${shown} of ${lines.length} cases`;
}
chosen.forEach((one) => one.addEventListener("change", filter));
filter();
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((one) => { one.open = true; }));
