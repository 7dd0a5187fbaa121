"use strict";
// Filters of tables, curves that can be hidden, and numbers that can be read. Nothing here makes markup of text.
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  all("fieldset[hidden], .hint[hidden]").forEach((element) => { element.hidden = false; });

  // A table: the rows of the tags that are ticked.
  for (const table of all(".table")) {
    const boxes = all(".filters input", table);
    const filter = () => {
      const off = boxes.filter((box) => box.dataset.tag && !box.checked).map((box) => box.dataset.tag);
      const only = boxes.filter((box) => box.dataset.only && box.checked).map((box) => box.dataset.only);
      for (const row of all("tr[data-tags]", table)) {
        const tags = row.dataset.tags.split("|");
        row.hidden = off.some((tag) => tags.includes(tag)) || !only.every((tag) => tags.includes(tag));
      }
    };
    boxes.forEach((box) => box.addEventListener("change", filter));
    filter();
  }

  // A curve: its lines, marks and spots in all pictures of its panel.
  for (const box of all("input[data-hides]")) {
    const hide = () => {
      const panel = box.closest(".panel");
      for (const part of all("[data-curve]", panel)) {
        if (part.dataset.curve === box.dataset.hides) part.classList.toggle("off", !box.checked);
      }
      for (const part of all("[data-key]", panel)) {
        if (part.dataset.key === box.dataset.hides) part.classList.toggle("dim", !box.checked);
      }
    };
    box.addEventListener("change", hide);
    hide();
  }

  // Numbers: a spot says what stands there, to those who point at it and to those who come by keyboard.
  const tip = document.getElementById("tip");
  const show = (spot) => {
    tip.textContent = spot.getAttribute("aria-label");
    tip.hidden = false;
    const at = spot.getBoundingClientRect(), size = tip.getBoundingClientRect();
    const left = Math.min(Math.max(8, at.left + at.width / 2 - size.width / 2), innerWidth - size.width - 8);
    const above = at.top - size.height - 8;
    tip.style.left = `${Math.max(8, left)}px`;
    tip.style.top = `${above > 4 ? above : at.bottom + 8}px`;
  };
  const hide = () => { tip.hidden = true; };
  for (const figure of all("figure")) {
    const spots = all(".spot", figure);
    for (const spot of spots) {
      const title = spot.querySelector("title");  // the browser's own hint, where there is no script
      spot.setAttribute("aria-label", title.textContent);
      spot.setAttribute("role", "img");
      title.remove();
      spot.addEventListener("pointerenter", () => show(spot));
      spot.addEventListener("pointerleave", hide);
      spot.addEventListener("focus", () => show(spot));
      spot.addEventListener("blur", hide);
    }
    if (spots.length) spots[0].setAttribute("tabindex", "0");
    figure.addEventListener("keydown", (event) => {
      const here = event.target.closest(".spot");
      if (!here) return;
      if (event.key === "Escape") return hide();
      const seen = spots.filter((spot) => !spot.classList.contains("off"));
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      const turn = { ArrowDown: 1, ArrowUp: -1 }[event.key];
      let next = null;
      if (step) next = seen[seen.indexOf(here) + step];
      if (turn) {
        const curves = [...new Set(seen.map((spot) => spot.dataset.curve))];
        const curve = curves[curves.indexOf(here.dataset.curve) + turn];
        next = seen.find((spot) => spot.dataset.curve === curve);
      }
      if (!step && !turn) return;
      event.preventDefault();
      if (next) next.focus();
    });
  }
})();
