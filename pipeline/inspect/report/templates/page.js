"use strict";
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[table.tHead.rows.length - 1].cells];
  heads.forEach((head, n) => {
    if (!head.textContent.trim() || head.hasAttribute("data-unsorted")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending" || (!head.hasAttribute("aria-sort") && head.classList.contains("r"));
      const key = row => row.cells[n].dataset.v ?? row.cells[n].textContent.trim();
      const body = table.tBodies[0];
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (x === "" || y === "") return (x === "") - (y === ""); // nothing measured: last, either way
        const found = !isNaN(x) && !isNaN(y) ? x - y : x.localeCompare(y, "ko");
        return down ? -found : found;
      };
      body.append(...[...body.rows].sort(order));
      heads.forEach(other => other.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
    });
  });
}
const boxes = [...document.querySelectorAll(".scroll")];
const reach = () => { // by keyboard, where there is something to scroll
  for (const box of boxes) {
    if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
  }
};
addEventListener("resize", reach);
document.fonts.ready.then(reach);
for (const player of document.querySelectorAll("audio"))
  player.addEventListener("play", () => document.querySelectorAll("audio").forEach(other => other !== player && other.pause()));
