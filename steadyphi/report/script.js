"use strict";
// Every text goes into the page as textContent: a question is never more than text here.

const $ = (id) => document.getElementById(id);

function make(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null));
  return element;
}

// ---- copying a prompt

async function copy(element) {
  try {
    await navigator.clipboard.writeText(element.textContent);
    return "Copied.";
  } catch {
    // Not allowed where the page is shown inside another one: select it instead.
    getSelection().selectAllChildren(element);
    return document.execCommand("copy") ? "Copied." : "Selected: press Ctrl+C.";
  }
}

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    button.nextElementSibling.textContent = await copy($(button.dataset.copy));
  });
}

// ---- single questions

const SIGNS = { "\n": "⏎", "\t": "⇥", " ": "␣", "\r": "␍", "\u00a0": "⍽" };

function visible(text) {
  return text.split(/([\n\t \r\u00a0])/).filter(Boolean).map((part) => {
    if (!(part in SIGNS)) return part;
    const space = make("span", part === "\n" ? "ws" : "ws in", part);
    space.dataset.sign = SIGNS[part];
    return space;
  });
}

function browser(cells) {
  let shown = [];
  let at = 0;

  const differs = (item) => item.runs.some((run) => new Set(run.chosen).size > 1);
  const runsDiffer = (item) => item.runs.some((run) => run.chosen.some((c, n) => c !== item.runs[0].chosen[n]));
  const neverRight = (item) => item.runs.every((run) => !run.chosen.includes(item.answer));
  const KINDS = { all: () => true, differ: differs, runs: runsDiffer, never: neverRight };

  function prompt(item, n) {
    const shape = cells.variants[n].shape;
    return item.prompts[n] ?? shape[0] + item.question + shape[1];
  }

  function answer(item, run, label, n) {
    const chosen = run.chosen[n];
    const right = chosen === item.answer;
    const share = run.probability[n];
    const text = `${label}: ${right ? "✓ right" : "✗ wrong"}, ${item.choices[chosen]} `;
    return make("span", right ? "right" : "wrong", text, share === null ? null : make("small", "", `${(100 * share).toFixed(1)}%`));
  }

  function variant(item, n) {
    const name = cells.variants[n].name;
    const note = name === cells.default ? make("span", "quiet", " (default)") : null;
    const answers = item.runs.map((run, r) => answer(item, run, cells.runs[r], n));
    const summary = make("summary", "", make("span", "variant", make("code", "", name), note ?? ""), ...answers);
    const details = make("details", "", summary);
    const fill = () => {
      if (details.open && details.children.length === 1) details.append(make("pre", "", ...visible(prompt(item, n))));
    };
    details.addEventListener("toggle", fill);
    details.open = $("open").checked;
    fill();
    return make("li", "", details);
  }

  function tally(item) {
    return item.runs.map((run, r) => {
      const right = run.chosen.filter((c) => c === item.answer).length;
      const answers = new Set(run.chosen).size;
      return `${cells.runs[r]}: right in ${right} of ${run.chosen.length} variants, ${answers} different answer${answers === 1 ? "" : "s"}`;
    }).join("; ") + ".";
  }

  function draw() {
    $("place").textContent = shown.length ? `${at + 1} of ${shown.length}` : "none found";
    for (const id of ["previous", "next"]) $(id).setAttribute("aria-disabled", String(shown.length < 2));
    if (!shown.length) return $("item").replaceChildren();
    const item = shown[at];
    const choices = item.choices.map((choice, n) =>
      make("li", "", choice, n === item.answer ? make("span", "right", " ✓ right answer") : ""));
    $("item").replaceChildren(
      make("h3", "", `${item.id} · ${item.skill}`),
      make("p", "question", item.question),
      make("ol", "choices", ...choices),
      make("p", "quiet", `${tally(item)} Below, behind each answer, the probability of the right one.`),
      make("ul", "variants", ...cells.variants.map((_, n) => variant(item, n))),
    );
  }

  function choose() {
    const words = $("search").value.toLowerCase();
    const holds = (item) => [item.id, item.skill, item.question, ...item.choices].some((t) => t.toLowerCase().includes(words));
    shown = cells.items.filter((item) => KINDS[$("show").value](item) && holds(item));
    at = 0;
    draw();
  }

  function step(by) {
    if (!shown.length) return;
    at = (at + by + shown.length) % shown.length;
    draw();
  }

  $("browse").hidden = false;
  $("browse").addEventListener("submit", (event) => event.preventDefault());
  $("show").addEventListener("change", choose);
  $("search").addEventListener("input", choose);
  $("open").addEventListener("change", draw);
  const marks = () => $("item").classList.toggle("marks", $("marks").checked);
  $("marks").addEventListener("change", marks);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));
  marks();
  choose();
}

if ($("cells")) browser(JSON.parse($("cells").textContent));
