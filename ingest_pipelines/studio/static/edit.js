// The page Edit: what a person types stays in this tab until it is saved or discarded, over a reload and another page.
"use strict";

const editing = document.querySelector("form[data-kept]");

if (editing) {
  const { text, seen } = editing.elements;
  const mine = document.getElementById("mine");
  const other = document.getElementById("mine-text");
  let unkept = false;

  function keep() {
    try {
      if (text.value === text.defaultValue) sessionStorage.removeItem(editing.dataset.kept);
      else sessionStorage.setItem(editing.dataset.kept, JSON.stringify({ text: text.value, seen: seen.value }));
      unkept = false;
    } catch { unkept = true; }
  }
  function forget() {
    sessionStorage.removeItem(editing.dataset.kept);
    unkept = false;
    mine.hidden = true;
  }
  function tell(words, both) {
    mine.querySelector("p").textContent = words;
    other.hidden = !both;
    mine.hidden = false;
  }

  let before = null;
  try { before = JSON.parse(sessionStorage.getItem(editing.dataset.kept)); } catch { /* none */ }
  if (before && before.text === text.defaultValue) forget();
  else if (before && before.seen === seen.value) {
    text.value = before.text;
    tell("This is your text, which is not saved yet.", false);
  } else if (before) {
    other.value = before.text;
    tell("The file was changed meanwhile: the editor has it as it is now. Your text, which is not saved, is here: take over what you need.", true);
  }
  // While an older text is shown beside the file's, it is the one that stays: what is typed now is asked for instead.
  text.addEventListener("input", () => { if (other.hidden) keep(); else unkept = true; });
  editing.addEventListener("sent", (event) => { if (event.detail.goto) forget(); });
  document.getElementById("discard").addEventListener("click", () => {
    if (other.hidden) text.value = text.defaultValue;
    other.hidden = true;
    forget();
    keep();
    text.focus();
  });
  addEventListener("beforeunload", (event) => { if (unkept) event.preventDefault(); });
}
