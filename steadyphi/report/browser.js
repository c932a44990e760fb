// The table of single answers. Only the rows in sight exist as elements, so ten thousand questions stay quick.

const ROW = 32; // pixels; --row in browser.css
const letter = (n) => (n < 26 ? String.fromCharCode(65 + n) : String(n + 1));

/** Return the questions with what each run answered, read from the page's data. */
function answers(cells) {
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const raw = bytes(cells.chosen);
  const chosen = cells.wide ? new Uint16Array(raw.buffer) : raw;
  const shares = bytes(cells.shares);
  const { items, runs, variants } = cells;
  let start = 0;
  const starts = items.map((item) => {
    const at = start;
    start += runs.length * variants.length * item.choices.length;
    return at;
  });
  return {
    ...cells,
    at: (i, run, n) => chosen[(i * runs.length + run) * variants.length + n],
    right: (i, run, n) => chosen[(i * runs.length + run) * variants.length + n] === items[i].answer,
    share: (i, run, n, choice) =>
      shares[starts[i] + (run * variants.length + n) * items[i].choices.length + choice] / 255,
    prompt(i, n) {
      const shape = variants[n].shape;
      return items[i].prompts?.[n] ?? shape[0] + items[i].question + shape[1];
    },
  };
}

/** Return whether a question is of a kind in one of the formats `columns`. */
function holds(data, kind, i, columns) {
  const [name, number] = kind.split("-");
  const run = Number(number);
  const start = Math.max(0, data.variants.findIndex((variant) => variant.name === data.default));
  const test = {
    all: () => true,
    changed: (n) => data.at(i, 0, n) !== data.at(i, 1, n),
    gained: (n) => !data.right(i, 0, n) && data.right(i, 1, n),
    lost: (n) => data.right(i, 0, n) && !data.right(i, 1, n),
    flips: (n) => data.at(i, run, n) !== data.at(i, run, start),
    wrong: (n) => !data.right(i, run, n),
  }[name];
  return test ? columns.some(test) : columns.every((n) => data.runs.every((_, r) => !data.right(i, r, n)));
}

function browser(data) {
  const grid = $("grid");
  const all = data.order; // variants, by column
  let shown = data.items.map((_, i) => i); // the questions that the filters let through
  let row = 0; // the place of the active cell: in `shown` and in `all`
  let column = 0;

  const head = make("div", "line head");
  const body = make("div", "body");
  const pane = make("div", "pane", head, body);
  const set = (place) => data.variants[all[place]]?.set;
  const classes = (name, place) => name + (set(place) !== set(place - 1) ? " starts" : "");

  function cell(i, place, across) {
    const n = all[across];
    const marks = data.runs.map((label, run) => {
      const right = data.right(i, run, n);
      return make("span", right ? "right" : "wrong", right ? "✓" : letter(data.at(i, run, n)));
    });
    const element = make("div", classes("cell", across), ...marks);
    element.id = `cell-${place}-${across}`;
    element.setAttribute("role", "gridcell");
    element.setAttribute("aria-colindex", across + 2);
    element.dataset.place = place;
    element.dataset.column = across;
    element.classList.toggle("active", place === row && across === column);
    return element;
  }

  function line(place) {
    const i = shown[place];
    const name = make("div", "ask", data.items[i].question);
    name.setAttribute("role", "rowheader");
    const element = make("div", "line", name, ...all.map((_, across) => cell(i, place, across)));
    element.setAttribute("role", "row");
    element.setAttribute("aria-rowindex", place + 2);
    element.style.transform = `translateY(${place * ROW}px)`;
    return element;
  }

  function drawHead() {
    const corner = make("div", "ask", make("small", "", `${data.runs.join(" and ")}: ✓ right, a letter is the wrong choice. Percent right among these questions:`));
    const heads = all.map((n, across) => {
      const label = make("code", "", data.variants[n].label);
      label.title = data.variants[n].name;
      const sums = data.runs.map((_, run) => {
        const right = shown.reduce((sum, i) => sum + data.right(i, run, n), 0);
        return make("small", `run${run}`, shown.length ? String(Math.round((100 * right) / shown.length)) : "–");
      });
      const element = make("div", classes("column", across), label, ...sums);
      element.setAttribute("role", "columnheader");
      return element;
    });
    const sets = [...new Set(all.map((_, across) => set(across)))].map((title) => {
      const element = make("div", "set", make("span", "", title));
      element.style.gridColumn = `span ${all.filter((_, across) => set(across) === title).length}`;
      return element;
    });
    if (sets.length) sets.unshift(make("div", "ask set"));
    head.setAttribute("role", "row");
    head.replaceChildren(...sets, corner, ...heads);
  }

  function draw() {
    const first = Math.max(0, Math.floor(grid.scrollTop / ROW) - 5);
    const last = Math.min(shown.length, Math.ceil((grid.scrollTop + grid.clientHeight) / ROW) + 5);
    const lines = [];
    for (let place = first; place < last; place++) lines.push(line(place));
    body.replaceChildren(...lines);
    if (shown.length) grid.setAttribute("aria-activedescendant", `cell-${row}-${column}`);
  }

  function move(down, across) {
    row = Math.min(Math.max(0, row + down), shown.length - 1);
    column = Math.min(Math.max(0, column + across), all.length - 1);
    const top = row * ROW;
    const room = grid.clientHeight - head.offsetHeight;
    grid.scrollTop = Math.min(Math.max(grid.scrollTop, top + ROW - room), top);
    const chosen = head.querySelectorAll(".column")[column];
    const [left, wide] = [chosen.offsetLeft, chosen.offsetWidth];
    const named = head.querySelector(".ask").offsetWidth;
    grid.scrollLeft = Math.min(Math.max(grid.scrollLeft, left + wide - grid.clientWidth), left - named);
    draw();
  }

  function filter() {
    const words = $("search").value.toLowerCase();
    const where = Number($("where").value);
    const columns = where < 0 ? all : [where];
    const says = (item) => [item.id, item.skill, item.question, ...item.choices].some((t) => t.toLowerCase().includes(words));
    shown = data.items.map((_, i) => i).filter((i) => holds(data, $("show").value, i, columns) && (!words || says(data.items[i])));
    row = 0;
    grid.setAttribute("aria-rowcount", shown.length + 1);
    body.style.height = `${shown.length * ROW}px`;
    $("place").textContent = `${shown.length} of ${data.items.length} questions`;
    grid.scrollTop = 0;
    drawHead();
    draw();
  }

  const KEYS = {
    ArrowDown: () => move(1, 0), ArrowUp: () => move(-1, 0), ArrowRight: () => move(0, 1), ArrowLeft: () => move(0, -1),
    PageDown: () => move(10, 0), PageUp: () => move(-10, 0), Home: () => move(-row, -column), End: () => move(shown.length, 0),
    Enter: () => shown.length && open(), " ": () => shown.length && open(),
  };

  function onKey(event) {
    const act = KEYS[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
  }

  /** Show the question and the format that are so many rows and columns away, or a format by its number. */
  function step(down, across, variant = all[column]) {
    move(down, all.indexOf(variant) + across - column);
    open();
  }

  function open() {
    const focus = document.activeElement.dataset?.act;
    $("item").replaceChildren(...single(data, shown[row], all[column], step));
    if (!$("item").open) $("item").showModal();
    if (focus) $("item").querySelector(`[data-act="${focus}"]`).focus();
  }

  grid.append(pane);
  grid.tabIndex = 0;
  for (const [key, value] of Object.entries({ role: "grid", "aria-label": "Questions and formats", "aria-colcount": all.length + 1 })) grid.setAttribute(key, value);
  grid.style.setProperty("--columns", all.length);
  grid.style.setProperty("--runs", data.runs.length);
  grid.addEventListener("scroll", () => requestAnimationFrame(draw));
  grid.addEventListener("keydown", onKey);
  grid.addEventListener("click", (event) => {
    const chosen = event.target.closest(".cell");
    if (!chosen) return;
    row = Number(chosen.dataset.place);
    column = Number(chosen.dataset.column);
    draw();
    open();
  });
  $("item").addEventListener("keydown", (event) => {
    const across = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (across) step(0, across);
  });
  $("item").addEventListener("click", (event) => event.target === $("item") && $("item").close());
  new ResizeObserver(draw).observe(grid); // also when its section is unfolded
  for (const n of all) $("where").append(new Option(data.variants[n].label, n));
  $("browse").hidden = false;
  $("browse").addEventListener("submit", (event) => event.preventDefault());
  $("browse").addEventListener("input", filter);
  filter();
}

/** Return what the dialog shows: a prompt, the choices with their probabilities, and the other formats. */
function single(data, i, n, step) {
  const item = data.items[i];
  const button = (text, act) => {
    const element = make("button", "", text);
    element.type = "button";
    element.dataset.act = text;
    element.addEventListener("click", act);
    return element;
  };
  const percent = (share) => `${Math.round(100 * share)}%`;
  const mark = (run, choice) => (data.at(i, run, n) !== choice ? "" : choice === item.answer ? " ✓" : " ✗");
  const choices = item.choices.map((choice, c) => {
    const cells = data.runs.map((_, run) => {
      const bar = make("span", `bar run${run}`);
      bar.style.width = percent(data.share(i, run, n, c));
      const kind = c === item.answer ? "right" : data.at(i, run, n) === c ? "wrong" : "";
      return make("td", "", make("span", kind, percent(data.share(i, run, n, c)) + mark(run, c)), bar);
    });
    return make("tr", "", make("th", c === item.answer ? "right" : "", `${letter(c)}  ${choice}`), ...cells);
  });
  const others = data.order.map((v) => {
    const variant = data.variants[v];
    const given = data.runs.map((_, run) => {
      const right = data.right(i, run, v);
      return make("td", right ? "right" : "wrong", `${right ? "✓" : "✗"} ${item.choices[data.at(i, run, v)]}`);
    });
    const to = button(variant.label, () => step(0, 0, v));
    to.classList.toggle("here", v === n);
    return make("tr", "", make("th", "", to), ...given);
  });
  const heads = (first) => make("thead", "", make("tr", "", make("th", "", first), ...data.runs.map((label, run) => make("th", `run${run}`, label))));
  return [
    make("div", "steps",
      button("◂ question", () => step(-1, 0)), button("question ▸", () => step(1, 0)),
      button("◂ format", () => step(0, -1)), button("format ▸", () => step(0, 1)),
      button("Close", () => $("item").close())),
    make("p", "quiet", `${item.id} · ${item.skill} · `, make("code", "", data.variants[n].label), data.variants[n].name === data.default ? " (default)" : ""),
    make("pre", "marks", ...visible(data.prompt(i, n))),
    make("table", "choices", heads("choice"), make("tbody", "", ...choices)),
    make("h3", "", "The same question in every format"),
    make("div", "scroll", make("table", "others", heads("format"), make("tbody", "", ...others))),
  ];
}

if ($("cells")) browser(answers(JSON.parse($("cells").textContent)));
