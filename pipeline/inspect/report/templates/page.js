"use strict";
const plain = text => /^−?[\d,.]+$/.test(text) ? text.replaceAll(",", "").replace("−", "-") : text;
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
      const key = row => row.cells[n].dataset.v ?? plain(row.cells[n].textContent.trim());
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
const search = document.getElementById("search");
if (search) { // word  scene:"Bus"  duration:1..2.5  over the rows of the table
  const [table, form] = [document.getElementById("table"), search.form];
  const keys = [...table.tHead.rows[0].cells].map(head => head.dataset.key);
  const lines = [...table.tBodies[0].rows].map(row => [row, [...row.cells].map(cell => cell.textContent)]);
  const test = ([, key, value]) => {
    const [n, exact] = [keys.indexOf(key), value.length > 1 && value.startsWith('"') && value.endsWith('"')];
    const text = exact ? value.slice(1, -1).replaceAll('""', '"') : value.toLowerCase();
    const ends = !exact && n >= 0 && value.match(/^(-?[\d.]*?)\.\.(-?[\d.]*)$/);
    const fits = cell => {
      if (!ends) return exact && n >= 0 ? cell === text : cell.toLowerCase().includes(text.toLowerCase());
      const x = parseFloat(plain(cell));
      return !isNaN(x) && (!ends[1] || x >= ends[1]) && (!ends[2] || x < ends[2]);
    };
    return cells => key && n < 0 ? false : n < 0 ? cells.some(fits) : fits(cells[n]);
  };
  const find = () => {
    const tests = [...search.value.matchAll(/(?:([\p{L}_-]+):)?("(?:[^"]|"")*"|\S+)/gu)].map(test);
    let count = 0;
    for (const [row, cells] of lines) count += !(row.hidden = !tests.every(fits => fits(cells)));
    form.querySelector("output").textContent = `${count.toLocaleString("en")} of ${lines.length.toLocaleString("en")} shown`;
  };
  for (const key of ["corpus", "kind", "label", "split", "scenario", "scene"].filter(key => keys.includes(key))) {
    const menu = document.createElement("select");
    menu.setAttribute("aria-label", key);
    const values = new Set(lines.map(([, cells]) => cells[keys.indexOf(key)]));
    menu.append(new Option(`${key}: all`, ""), ...[...values].filter(Boolean).sort().slice(0, 60).map(value => new Option(value)));
    const own = new RegExp(`(^|\\s)${key}:("(?:[^"]|"")*"|\\S+)`, "gu");
    menu.addEventListener("change", () => {
      search.value = `${search.value.replace(own, "")} ${menu.value && `${key}:"${menu.value.replaceAll('"', '""')}"`}`.trim();
      find();
    });
    form.insertBefore(menu, form.lastElementChild);
  }
  search.addEventListener("input", find);
  search.addEventListener("search", find);
  form.addEventListener("submit", event => event.preventDefault());
  document.addEventListener("click", event => {
    const link = event.target.closest("a[data-find], a[data-at]");
    if (!link) return;
    search.value = link.dataset.find ?? link.parentNode.dataset.find + link.dataset.at;
    for (const menu of form.querySelectorAll("select")) menu.value = "";
    find();
  });
  form.hidden = false;
  find();
}
const boxes = [...document.querySelectorAll(".scroll")];
const reach = () => { // by keyboard, where there is something to scroll
  for (const box of boxes) {
    if (box.scrollWidth > box.clientWidth) box.setAttribute("tabindex", "0");
    else box.removeAttribute("tabindex");
    box.classList.toggle("wide", box.scrollWidth > box.clientWidth);
  }
};
addEventListener("resize", reach);
document.fonts.ready.then(reach);
for (const player of document.querySelectorAll("audio"))
  player.addEventListener("play", () => document.querySelectorAll("audio").forEach(other => other !== player && other.pause()));
