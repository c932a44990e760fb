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

// ---- folded sections: a link opens the one that it leads to, and paper shows them all

function unfold() {
  const found = location.hash.length > 1 && $(decodeURIComponent(location.hash.slice(1)));
  for (const fold of found ? found.querySelectorAll(":scope > .fold") : []) fold.open = true;
}
addEventListener("hashchange", unfold);
unfold();

let folded = [];
addEventListener("beforeprint", () => {
  folded = [...document.querySelectorAll("details:not([open])")];
  for (const details of folded) details.open = true;
});
addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
});

// ---- visible white space

const SIGNS = { "\n": "⏎", "\t": "⇥", " ": "␣", "\r": "␍", "\u00a0": "⍽" };

function visible(text) {
  return text.split(/([\n\t \r\u00a0])/).filter(Boolean).map((part) => {
    if (!(part in SIGNS)) return part;
    const space = make("span", part === "\n" ? "ws" : "ws in", part);
    space.dataset.sign = SIGNS[part];
    return space;
  });
}
