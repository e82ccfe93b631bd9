// The page "New import": keeps each answer on the server as it is given, and shows the form as it is then.
"use strict";

const setup = document.getElementById("setup");
let timer = 0;
let sending = false;
let waiting = null;
let version = 0;
const tab = crypto.getRandomValues(new Uint32Array(3)).join("-");

// --- what was typed goes to the server; its HTML comes back ---------------------------------------------------------

function later(milliseconds) {
  clearTimeout(timer);
  timer = setTimeout(() => save(""), milliseconds);
}

async function save(what, button) {
  clearTimeout(timer);
  if (sending) {
    if (!waiting || what) waiting = [what, button];
    return;
  }
  sending = true;
  setup.setAttribute("aria-busy", "true");
  if (button) button.disabled = true;
  const sent = version;
  try {
    const fields = fieldsOf(setup);
    for (const name of Object.keys(fields)) if (typeof fields[name] === "object" && fields[name] instanceof File) delete fields[name];
    const answer = await send(setup.dataset.save, { ...fields, do: what, tab, seen: setup.dataset.saves });
    if (answer.goto) {
      if (answer.said) sessionStorage.setItem("said", answer.said);
      location.assign(answer.goto);
      return;
    }
    if (version === sent) {
      sessionStorage.removeItem(setup.dataset.save);
      show(setup, answer.html);
    } else later(300);
  } catch (error) {
    say(error instanceof TypeError ? "the studio does not answer; what you typed stays on this page" : error.message, error.hint, true);
    if (button) button.disabled = false;
  }
  sending = false;
  setup.removeAttribute("aria-busy");
  if (waiting) {
    const [next, pressed] = waiting;
    waiting = null;
    save(next, pressed);
  }
}

function show(where, html) {
  const focused = document.activeElement && where.contains(document.activeElement) ? document.activeElement : null;
  const place = focused && focused.id;
  const range = focused && typeof focused.selectionStart === "number" ? [focused.selectionStart, focused.selectionEnd] : null;
  const open = new Map([...where.querySelectorAll("details[id]")].map((one) => [one.id, one.open]));
  const tops = new Map([...where.querySelectorAll("[id]")].filter((one) => one.scrollTop).map((one) => [one.id, one.scrollTop]));
  const searches = new Map([...where.querySelectorAll("[data-find]")].map((one) => [one.id, one.value]));
  where.innerHTML = html;
  for (const [id, is] of open) { const one = document.getElementById(id); if (one) one.open = is; }
  for (const [id, value] of searches) { const one = document.getElementById(id); if (one && value) { one.value = value; find(one); } }
  for (const [id, top] of tops) { const one = document.getElementById(id); if (one) one.scrollTop = top; }
  const again = place && document.getElementById(place);
  if (again) {
    again.focus({ preventScroll: true });
    if (range && typeof again.selectionStart === "number") try { again.setSelectionRange(...range); } catch { /* no text */ }
  }
  watch();
}

function watch() {
  if (setup && setup.querySelector("[data-again]")) setTimeout(() => { if (setup.querySelector("[data-again]")) save(""); }, 1000);
}

// --- what is typed and not sent yet survives a reload of the tab ----------------------------------------------------

function keepTyped(input) {
  if (input.id) sessionStorage.setItem(setup.dataset.save, JSON.stringify([input.id, input.value]));
}

function takeTyped() {
  const [id, value] = JSON.parse(sessionStorage.getItem(setup.dataset.save) || "[]");
  const input = id && document.getElementById(id);
  if (!input || !setup.contains(input) || input.value === value) return;
  input.value = value;
  save("");
}

// --- search in a list that is on the page ---------------------------------------------------------------------------

function find(input) {
  const wanted = input.value.trim().toLowerCase();
  for (const one of document.querySelectorAll(`${input.dataset.find} [data-search]`)) one.hidden = !one.dataset.search.includes(wanted);
}

// --- events ---------------------------------------------------------------------------------------------------------

if (setup) {
  setup.addEventListener("submit", (event) => event.preventDefault());
  setup.addEventListener("input", (event) => {
    if (event.target.dataset.find) return find(event.target);
    if (event.target.type === "file") return undefined;
    version += 1;
    const isTyped = event.target.matches("input:not([type]), [type=text], textarea");
    if (isTyped) keepTyped(event.target);
    return later(isTyped ? 600 : 0);
  });
  setup.addEventListener("change", (event) => {
    if (event.target.type !== "file" && !event.target.dataset.find && event.target.matches("input:not([type]), [type=text], textarea")) later(0);
  });
  setup.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-do]");
    if (!button) return;
    if (button.dataset.confirm && !(await confirmed(button.dataset.confirm, button.textContent.trim()))) return;
    save(button.dataset.do, button);
  });
  takeTyped();
  watch();
}
