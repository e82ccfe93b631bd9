// What a page does without a reload: filter, live rows, send a form. No library; the server renders every piece of HTML.
"use strict";

const token = document.querySelector('meta[name="studio-token"]').content;
const SILENT = "the studio does not answer; nothing is known to have changed";
const said = document.getElementById("said");

// --- what happened, at the foot of the page -------------------------------------------------------------------------

function say(text, hint, bad) {
  const box = document.createElement("div");
  box.className = bad ? "notice bad" : "notice good";
  for (const [tag, words] of [["p", text], ["p", hint]]) {
    for (const line of (words || "").split("\n").filter(Boolean)) {
      const element = document.createElement(tag);
      element.textContent = line;
      box.append(element);
    }
  }
  const close = document.createElement("button");
  close.type = "button";
  close.className = "close";
  close.textContent = "Close";
  close.addEventListener("click", () => box.remove());
  box.append(close);
  said.replaceChildren(box);
  if (!bad) setTimeout(() => box.remove(), 8000);
}

// What is said takes room at the foot: a dock stands above it, and all else can be scrolled out from under it; the button
// that was pressed is. An error stays until it is closed or the next button is pressed.
let pressed = null;
document.addEventListener("click", (event) => {
  pressed = event.target.closest("button");
  if (pressed && !said.contains(pressed)) said.querySelector(".notice.bad")?.remove();
}, true);
new ResizeObserver(() => {
  const height = said.offsetHeight;
  document.documentElement.style.setProperty("--said", `${height && height + 20}px`);
  if (!height || !pressed) return;
  const { top, bottom } = pressed.getBoundingClientRect();
  if (bottom > said.getBoundingClientRect().top && top < innerHeight) pressed.scrollIntoView({ block: "nearest" });
}).observe(said);

// --- forms with data-send: their fields as JSON, the answer as words, a page to go to, or HTML for data-into ---------

function fieldsOf(form, submitter) {
  const fields = {};
  const data = new FormData(form);
  if (submitter && submitter.name) data.append(submitter.name, submitter.value);
  for (const [name, value] of data) {
    if (name in fields) fields[name] = [].concat(fields[name], value);
    else fields[name] = value;
  }
  return fields;
}

// Resolves to what was typed ("" without `ask`, the label of a line to type into), or to null if it was cancelled.
function answered(question, verb, ask) {
  return new Promise((resolve) => {
    const dialog = document.createElement("dialog");
    const form = document.createElement("form");
    form.method = "dialog";
    const words = document.createElement("p");
    words.textContent = question;
    const buttons = document.createElement("div");
    buttons.className = "buttons";
    for (const [value, text, kind] of [["", "Cancel", ""], ["yes", verb, "main"]]) {
      const button = document.createElement("button");
      button.value = value;
      button.textContent = text;
      button.className = kind;
      buttons.append(button);
    }
    const label = document.createElement("label");
    const line = document.createElement("input");
    label.append(ask || "", line);
    form.append(words, ...(ask ? [label] : []), buttons);
    dialog.append(form);
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes" ? line.value : null);
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}

async function confirmed(question, verb) {
  return (await answered(question, verb)) !== null;
}

async function send(address, fields) {
  const answer = await fetch(address, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-Studio-Token": token },
    body: JSON.stringify(fields),
  });
  const type = answer.headers.get("Content-Type") || "";
  const content = type.startsWith("application/json") ? await answer.json() : { html: await answer.text() };
  if (!answer.ok) throw Object.assign(new Error(content.error || "the studio refused it"), { hint: content.hint });
  return content;
}

document.addEventListener("submit", async (event) => {
  const form = event.target;
  if (!form.matches("form[data-send]")) return;
  event.preventDefault();
  const button = event.submitter;
  const question = (button && button.dataset.confirm) || form.dataset.confirm;
  const fields = fieldsOf(form, button);
  if (question && !(await confirmed(question, button ? button.textContent.trim() : "Do it"))) return;
  if (button) button.disabled = true;
  try {
    const answer = await send((button && button.dataset.send) || form.dataset.send, fields);
    form.dispatchEvent(new CustomEvent("sent", { bubbles: true, detail: answer }));
    if (answer.goto) {
      if (answer.said) sessionStorage.setItem("said", answer.said);
      location.assign(answer.goto);
      return;
    }
    if (answer.html !== undefined) {
      const into = document.querySelector(form.dataset.into);
      if (into) {
        into.innerHTML = answer.html;
        into.dispatchEvent(new CustomEvent("replaced", { bubbles: true }));
      }
    }
    if (answer.said) say(answer.said);
  } catch (error) {
    say(error instanceof TypeError ? SILENT : error.message, error.hint, true);
  } finally {
    if (button) button.disabled = false;
  }
});

// A button with data-send and no form: what else its data- attributes hold are the fields.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button[data-send]");
  if (!button || button.form) return;
  const { send: address, confirm: question, ask, key, ...fields } = button.dataset;
  if (question) {
    const reason = await answered(question, button.textContent.trim(), ask);
    if (reason === null) return;
    if (ask) fields.reason = reason;
  }
  button.disabled = true;
  try {
    const answer = await send(address, fields);
    if (answer.goto) location.assign(answer.goto);
    else if (answer.said) say(answer.said);
  } catch (error) {
    say(error instanceof TypeError ? SILENT : error.message, error.hint, true);
  } finally {
    button.disabled = false;
  }
});

const earlier = sessionStorage.getItem("said");
if (earlier) {
  sessionStorage.removeItem("said");
  say(earlier);
}

// --- a table that is filtered as a person types ---------------------------------------------------------------------

const filters = document.querySelector("form[data-filter]");
const table = filters && document.getElementById(filters.dataset.filter);

function applyFilter() {
  if (!table) return;
  const wanted = filters.elements.q.value.trim().toLowerCase();
  const status = filters.elements.status.value;
  let shown = 0;
  for (const body of table.tBodies) {
    let here = 0;
    for (const row of body.rows) {
      if (row.dataset.name === undefined) continue;
      const fits = (!status || row.dataset.status === status) && (!wanted || row.dataset.search.includes(wanted));
      hide(row, !fits);
      here += fits;
    }
    hide(body, !here);
    shown += here;
  }
  hide(table, !shown);
  hide(document.getElementById("nothing"), shown > 0);
}

// Writing what is there already costs a thousand rows a new layout.
function hide(one, away) {
  if (one.hidden !== away) one.hidden = away;
}

if (filters) {
  filters.addEventListener("submit", (event) => event.preventDefault());
  filters.addEventListener("input", (event) => {
    const address = new URL(location.href);
    address.search = new URLSearchParams([...new FormData(filters)].filter(([, value]) => value)).toString();
    if ("reload" in event.target.dataset) return location.assign(address);
    history.replaceState(null, "", address);
    applyFilter();
  });
}

// --- rows that the server pushes ------------------------------------------------------------------------------------

const live = document.querySelector("[data-changes]");

function place(row, into) {
  const next = [...into.rows].find((other) => other.dataset.order > row.dataset.order);
  into.insertBefore(row, next || null);
}

function rowsOnPage() {
  return new Map([...live.querySelectorAll("tr[data-name]")].map((row) => [row.dataset.name, row]));
}

function bodyOf(row) {
  const bodies = [...live.tBodies];
  return bodies.find((body) => body.dataset.database === row.dataset.database) || bodies[0];
}

// The rows that did not come with the page. One that is here already is at least as new.
async function takeRest() {
  const { rows } = await (await fetch(live.dataset.rest)).json();
  const known = rowsOnPage();
  const holder = document.createElement("template");
  holder.innerHTML = rows.join("");
  const bodies = new Map();
  for (const row of holder.content.querySelectorAll("tr")) {
    if (known.has(row.dataset.name)) continue;
    const body = bodyOf(row);
    if (!bodies.has(body)) bodies.set(body, []);
    bodies.get(body).push(row);
  }
  for (const [body, added] of bodies) {
    const here = [...body.rows].filter((row) => row.dataset.name !== undefined);
    const all = [...here, ...added].sort((one, other) => (one.dataset.order < other.dataset.order ? -1 : 1));
    const focused = document.activeElement;
    body.append(...all);
    if (focused && body.contains(focused)) focused.focus({ preventScroll: true });
  }
  applyFilter();
}

function takeRows(what) {
  const known = rowsOnPage();
  const holder = document.createElement("template");
  for (const html of what.rows) {
    holder.innerHTML = html;
    const row = holder.content.querySelector("tr");
    const old = known.get(row.dataset.name);
    const into = old ? old.parentElement : bodyOf(row);
    const focused = old && old.contains(document.activeElement) ? document.activeElement.dataset.key || "a" : "";
    if (old && old.dataset.order === row.dataset.order) old.replaceWith(row);
    else {
      if (old) old.remove();
      place(row, into);
    }
    if (focused) (row.querySelector(focused === "a" ? "a" : `[data-key="${focused}"]`) || row.querySelector("a")).focus();
    row.classList.add("changed");
  }
  for (const name of what.gone) if (known.has(name)) known.get(name).remove();
  for (const [status, , count] of what.counts) {
    const chip = document.querySelector(`[data-count="${status}"]`);
    if (!chip) continue;
    chip.querySelector("b").textContent = count.toLocaleString("en");
    hide(chip, !count && !chip.querySelector("input").checked);
  }
  document.getElementById("total").textContent = `${what.total.toLocaleString("en")} import${what.total === 1 ? "" : "s"}`;
  applyFilter();
}

if (live) {
  const sign = document.getElementById("live");
  const source = new EventSource(live.dataset.changes);
  source.addEventListener("open", () => { sign.hidden = false; });
  source.addEventListener("error", () => { sign.hidden = true; });
  source.addEventListener("said", (event) => {
    const what = JSON.parse(event.data);
    say(what.said, what.hint, what.bad);
  });
  source.addEventListener("rows", (event) => takeRows(JSON.parse(event.data)));
  if (live.dataset.rest) requestAnimationFrame(() => setTimeout(takeRest));
}

// --- a part of a page that the server pushes ------------------------------------------------------------------------

const part = document.querySelector("[data-part]");

if (part) {
  const source = new EventSource(part.dataset.part);
  source.addEventListener("part", (event) => {
    const focused = part.contains(document.activeElement) ? document.activeElement.dataset.key : undefined;
    part.innerHTML = JSON.parse(event.data).html;
    const again = focused && part.querySelector(`[data-key="${focused}"]`);
    if (again) again.focus();
  });
}
