"use strict";
(() => {
  const rows = JSON.parse(document.getElementById("rows").textContent);
  const tip = document.getElementById("tip");

  // Tooltips: hover, focus or tap anything that carries a row's index. All text goes through textContent.
  const make = (name, text) => {
    const node = document.createElement(name);
    node.textContent = text;
    return node;
  };
  const fill = (row) => {
    const list = document.createElement("dl");
    for (const [name, value] of row.pairs) list.append(make("dt", name), make("dd", value));
    tip.replaceChildren(make("b", row.title), list);
    if (row.text) tip.append(make("p", row.text));
  };
  let current = null;
  const hide = () => { tip.hidden = true; current = null; };
  const show = (target) => {
    current = target;
    fill(rows[Number(target.dataset.row)]);
    tip.hidden = false;
    const at = target.getBoundingClientRect();
    const own = tip.getBoundingClientRect();
    const room = 8;
    const left = Math.min(at.left + Math.min(at.width, 240) / 2 - own.width / 2, innerWidth - own.width - room);
    const above = at.top - own.height - room;
    tip.style.left = `${Math.max(room, left)}px`;
    tip.style.top = `${above >= room ? above : Math.min(at.bottom + room, innerHeight - own.height - room)}px`;
  };
  const carrier = (event) => event.target.closest?.("[data-row]");
  for (const kind of ["pointerover", "focusin", "click"]) {
    document.addEventListener(kind, (event) => {
      const target = carrier(event);
      if (target) show(target);
      else if (kind === "click" || !current?.matches(":focus")) hide();
    });
  }
  document.addEventListener("focusout", hide);
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  // Focus scrolls its target into view: the tooltip goes along, until neither focus nor pointer is there any more.
  const follow = () => { if (current?.matches(":hover, :focus")) show(current); else hide(); };
  addEventListener("scroll", follow, { capture: true, passive: true });

  // Sorting: numbers by value, names by letters, absent values last in both directions.
  for (const table of document.querySelectorAll(".results")) {
    const heads = [...table.tHead.rows[0].cells];
    const sort = (column) => {
      const head = heads[column];
      const order = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      const sign = order === "ascending" ? 1 : -1;
      const value = (line) => line.cells[column].dataset.value;
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const difference = x - y;
        return sign * (Number.isNaN(difference) ? x.localeCompare(y) : difference);
      };
      for (const other of heads) if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
      head.setAttribute("aria-sort", order);
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(compare));
    };
    heads.forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => sort(column)));
  }

  // The theme follows the system until the button is pressed.
  const button = document.getElementById("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const dark = () => (document.documentElement.dataset.theme || (system.matches ? "dark" : "light")) === "dark";
  const name = () => { button.textContent = dark() ? "Light" : "Dark"; };
  button.addEventListener("click", () => {
    document.documentElement.dataset.theme = dark() ? "light" : "dark";
    name();
  });
  system.addEventListener("change", name);
  button.hidden = false;
  name();
})();
