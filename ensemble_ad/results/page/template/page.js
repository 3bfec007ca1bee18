"use strict";
(() => {
  const all = (query, of = document) => [...of.querySelectorAll(query)];

  // Light, dark, or what the system has; remembered where the browser lets a file remember.
  const theme = document.getElementById("theme");
  const order = ["auto", "light", "dark"];
  const recall = () => { try { return localStorage.getItem("ensad-theme") || "auto"; } catch { return "auto"; } };
  const show = (name) => {
    if (name === "auto") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = name;
    theme.querySelector("span").textContent = name;
    try { localStorage.setItem("ensad-theme", name); } catch { /* a file may have no storage */ }
  };
  theme.hidden = false;
  show(order.includes(recall()) ? recall() : "auto");
  theme.addEventListener("click", () => {
    const now = theme.querySelector("span").textContent;
    show(order[(order.indexOf(now) + 1) % order.length]);
  });

  // A heading sorts its column: first the way that its kind suggests, then the other; what is missing stays last.
  const table = document.getElementById("everything");
  const body = table.tBodies[0];
  const headings = all("thead th", table);
  headings.forEach((heading, column) => {
    heading.querySelector("button").addEventListener("click", () => {
      const numeric = heading.classList.contains("n");
      const before = heading.getAttribute("aria-sort");
      const down = before ? before === "ascending" : numeric;
      headings.forEach((other) => other.removeAttribute("aria-sort"));
      heading.setAttribute("aria-sort", down ? "descending" : "ascending");
      const key = (row) => {
        const cell = row.cells[column];
        if (!numeric) return cell.textContent.trim() || null;
        return cell.dataset.v === undefined ? null : Number(cell.dataset.v);
      };
      const rows = [...body.rows].map((row, place) => ({ row, place, key: key(row) }));
      rows.sort((a, b) => {
        if (a.key === null || b.key === null) return (a.key === null) - (b.key === null) || a.place - b.place;
        const less = numeric ? a.key - b.key : a.key.localeCompare(b.key, "en", { numeric: true });
        return (down ? -less : less) || a.place - b.place;
      });
      body.append(...rows.map(({ row }) => row));
    });
  });

  // Every word that is typed has to be in the row.
  const filter = document.getElementById("filter");
  const kind = document.getElementById("kind");
  const count = document.getElementById("count");
  const sieve = () => {
    const words = filter.value.toLowerCase().split(/[\s,]+/).filter(Boolean);
    let shown = 0;
    for (const row of body.rows) {
      const text = row.textContent.toLowerCase();
      const fits = kind.value === "" || kind.value === row.dataset.kind || (kind.value === "used" && "used" in row.dataset);
      row.hidden = !fits || !words.every((word) => text.includes(word));
      shown += !row.hidden;
    }
    const rows = body.rows.length;
    count.textContent = shown === rows ? `${rows} rows` : `${shown} of ${rows} rows`;
  };
  filter.addEventListener("input", sieve);
  kind.addEventListener("change", sieve);

  all("button[data-opens]").forEach((button) => {
    button.addEventListener("click", () => {
      const part = document.getElementById(button.dataset.opens);
      part.hidden = !part.hidden;
      button.setAttribute("aria-expanded", String(!part.hidden));
    });
  });

  all("input[data-family]").forEach((box) => {
    box.addEventListener("change", () => {
      all(`[data-of="${CSS.escape(box.dataset.family)}"]`).forEach((view) => { view.hidden = !box.checked; });
    });
  });

  // A picture opens large, with what each family makes of it.
  const large = document.createElement("dialog");
  large.setAttribute("aria-label", "A picture, large");
  document.body.append(large);
  const close = '<form method="dialog"><button class="more">Close</button></form>';
  all(".shot, .sheet").forEach((figure) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "larger";
    button.textContent = "larger";
    button.setAttribute("aria-label", `Larger: ${figure.querySelector("figcaption").textContent.trim()}`);
    button.addEventListener("click", () => {
      const copy = figure.cloneNode(true);
      copy.querySelector(".larger").remove();
      large.innerHTML = close;
      large.prepend(copy);
      large.showModal();
    });
    figure.querySelector("figcaption").append(button);
  });
  large.addEventListener("click", ({ target }) => { if (target === large) large.close(); });

  // The section that is being read is marked in the navigation.
  const links = new Map(all("nav a").map((link) => [link.hash.slice(1), link]));
  if ("IntersectionObserver" in window) {
    const watcher = new IntersectionObserver((entries) => {
      for (const { isIntersecting, target } of entries) {
        if (!isIntersecting) continue;
        links.forEach((link) => link.removeAttribute("aria-current"));
        links.get(target.id)?.setAttribute("aria-current", "true");
      }
    }, { rootMargin: "-25% 0px -70% 0px" });
    all("main > section").forEach((section) => watcher.observe(section));
  }
})();
