(function () {
  function key(cell) {
    const text = (cell.dataset.value || cell.textContent).trim();
    const number = parseFloat(text);
    return text === "" || text === "–" ? null : isNaN(number) ? text.toLowerCase() : number;
  }
  function compare(a, b) {
    if (typeof a === "number" && typeof b === "number") return a - b;
    return String(a).localeCompare(String(b), undefined, {numeric: true});
  }
  for (const table of document.querySelectorAll("table.sortable")) {
    const heads = Array.from(table.tHead.rows[0].cells);
    heads.forEach(function (head, column) {
      head.tabIndex = 0;
      function sort() {
        const down = head.getAttribute("aria-sort") === "ascending";
        heads.forEach((other) => other.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        const rows = Array.from(table.tBodies[0].rows).map((row) => [key(row.cells[column]), row]);
        rows.sort(function (p, q) {
          // rows without a value stay at the end
          if (p[0] === null || q[0] === null) return (p[0] === null) - (q[0] === null);
          return down ? compare(q[0], p[0]) : compare(p[0], q[0]);
        });
        for (const [, row] of rows) table.tBodies[0].appendChild(row);
      }
      head.addEventListener("click", sort);
      head.addEventListener("keydown", (event) => { if (event.key === "Enter") sort(); });
    });
  }
  const filter = document.getElementById("filter");
  if (filter) filter.addEventListener("input", function () {
    const wanted = filter.value.toLowerCase();
    for (const row of document.getElementById("runs").tBodies[0].rows)
      row.hidden = !row.textContent.toLowerCase().includes(wanted);
  });
})();
