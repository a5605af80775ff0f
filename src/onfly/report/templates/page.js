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

// The structure view: balls and sticks on a canvas, turned by dragging.
(function () {
  const source = document.getElementById("structure-data");
  if (!source) return;
  const {elements, frames} = JSON.parse(source.textContent);
  const view = document.getElementById("structure");
  const canvas = view.querySelector("canvas"), slider = view.querySelector("input[type=range]");
  const title = view.querySelector("output"), every = view.querySelector("input[type=checkbox]");
  const context = canvas.getContext("2d");
  let turn = [[0.88, -0.47, 0], [0.13, 0.25, 0.96], [-0.45, -0.85, 0.28]], zoom = 1, shown;

  function corners(cell) {
    const result = [];
    for (let k = 0; k < 8; k++)
      result.push([0, 1, 2].map((a) => (k & 1) * cell[a] + (k >> 1 & 1) * cell[3 + a] + (k >> 2 & 1) * cell[6 + a]));
    return result;
  }
  function prepare(frame) {
    if (frame.atoms) return frame;
    frame.atoms = frame.kinds.map((kind, i) => ({kind, at: frame.xyz.slice(3 * i, 3 * i + 3)}));
    frame.corners = frame.cell ? corners(frame.cell) : [];
    frame.bonds = [];
    for (let i = 0; i < frame.atoms.length; i++)
      for (let j = 0; j < i; j++) {
        const a = frame.atoms[i], b = frame.atoms[j];
        const reach = 1.2 * (elements[a.kind].radius + elements[b.kind].radius);
        if (Math.abs(a.at[0] - b.at[0]) > reach) continue;
        if (Math.hypot(a.at[0] - b.at[0], a.at[1] - b.at[1], a.at[2] - b.at[2]) < reach) frame.bonds.push([i, j]);
      }
    return frame;
  }
  // the same centre and scale for all configurations, so that motion is seen
  const first = prepare(frames[0]);
  const points = first.corners.length ? first.corners : first.atoms.map((atom) => atom.at);
  const centre = [0, 1, 2].map((a) => (Math.min(...points.map((p) => p[a])) + Math.max(...points.map((p) => p[a]))) / 2);
  const size = Math.max(2, ...points.map((p) => Math.hypot(...p.map((v, a) => v - centre[a]))));

  function draw() {
    const width = view.clientWidth, height = Math.min(480, 0.8 * width), ratio = window.devicePixelRatio || 1;
    canvas.width = width * ratio; canvas.height = height * ratio;
    canvas.style.height = height + "px";
    context.scale(ratio, ratio);
    const scale = zoom * 0.46 * Math.min(width, height) / size;
    const place = (p) => turn.map((row) => row[0] * (p[0] - centre[0]) + row[1] * (p[1] - centre[1]) + row[2] * (p[2] - centre[2]));
    const x = (q) => width / 2 + scale * q[0], y = (q) => height / 2 - scale * q[1];
    const frame = prepare(frames[shown]), items = [];
    function line(a, b, color, thick) {
      items.push([(a[2] + b[2]) / 2 - 0.01, () => {
        context.strokeStyle = color; context.lineWidth = thick;
        context.beginPath(); context.moveTo(x(a), y(a)); context.lineTo(x(b), y(b)); context.stroke();
      }]);
    }
    const cell = frame.corners.map(place);
    for (let k = 0; k < cell.length; k++)
      for (const bit of [1, 2, 4]) if (!(k & bit)) line(cell[k], cell[k | bit], "#9aa5b1", 1);
    const atoms = frame.atoms.map((atom) => place(atom.at));
    const ball = (i) => 0.12 + 0.3 * elements[frame.atoms[i].kind].radius;
    for (const [i, j] of frame.bonds) {
      // from surface to surface: a bond that began in the middle would be drawn across the ball
      const a = atoms[i], b = atoms[j], length = Math.hypot(...a.map((v, k) => b[k] - v));
      const along = (from, to, r) => from.map((v, k) => v + (to[k] - v) * Math.min(0.5, 0.9 * r / length));
      line(along(a, b, ball(i)), along(b, a, ball(j)), "#7b8794", Math.max(1.5, 0.14 * scale));
    }
    atoms.forEach(function (q, i) {
      const element = elements[frame.atoms[i].kind];
      items.push([q[2], () => {
        context.fillStyle = element.color; context.strokeStyle = "#52606d"; context.lineWidth = 1;
        context.beginPath(); context.arc(x(q), y(q), scale * ball(i), 0, 7);
        context.fill(); context.stroke();
      }]);
    });
    if (every.checked) for (const other of frames) {
      for (const atom of prepare(other).atoms) {
        const q = place(atom.at);
        items.push([q[2], () => {
          context.globalAlpha = 0.5; context.fillStyle = elements[atom.kind].color;
          context.fillRect(x(q) - 1.5, y(q) - 1.5, 3, 3); context.globalAlpha = 1;
        }]);
      }
    }
    items.sort((a, b) => a[0] - b[0]).forEach((item) => item[1]());
    context.font = "14px sans-serif"; context.textBaseline = "middle"; context.lineWidth = 1;
    elements.forEach(function (element, k) {
      context.fillStyle = element.color; context.strokeStyle = "#52606d";
      context.beginPath(); context.arc(10, 14 + 22 * k, 7, 0, 7); context.fill(); context.stroke();
      context.fillStyle = "#1f2933"; context.fillText(element.symbol, 24, 14 + 22 * k);
    });
    title.textContent = frame.title;
  }
  function rotate(a, b, angle) {
    const c = Math.cos(angle), s = Math.sin(angle), p = turn[a], q = turn[b];
    turn[a] = p.map((v, i) => c * v - s * q[i]);
    turn[b] = p.map((v, i) => s * v + c * q[i]);
  }
  canvas.addEventListener("pointerdown", (event) => canvas.setPointerCapture(event.pointerId));
  canvas.addEventListener("pointermove", function (event) {
    if (!event.buttons) return;
    rotate(2, 0, -event.movementX / 150);
    rotate(1, 2, event.movementY / 150);
    draw();
  });
  canvas.addEventListener("wheel", function (event) {
    event.preventDefault();
    zoom = Math.min(8, Math.max(0.3, zoom * Math.exp(-event.deltaY / 600)));
    draw();
  }, {passive: false});
  slider.max = frames.length - 1;
  slider.value = shown = frames.length - 1;
  slider.addEventListener("input", function () { shown = +slider.value; draw(); });
  every.addEventListener("change", draw);
  window.addEventListener("resize", draw);
  window.addEventListener("beforeprint", draw);
  draw();
})();
