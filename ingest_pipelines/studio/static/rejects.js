// The rejects bench: keeps what a person types, asks the import's rules, loads what passes.
"use strict";

const bench = document.getElementById("bench");

if (bench) {
  const kept = `rejects ${bench.dataset.import} ${bench.dataset.load}`;
  const rows = new Map([...bench.querySelectorAll("tr[data-line]")].map((row) => [row.dataset.line, row]));
  const dock = document.getElementById("dock");
  const tally = document.getElementById("tally");
  const same = document.getElementById("same");
  let corrections = read();
  let verdicts = {};
  let gone = new Set();
  let last = null;
  let waiting = 0;

  // Corrections stay in this tab until they are loaded or undone: a reload, or another person's load, loses none.
  function read() {
    try { return JSON.parse(sessionStorage.getItem(kept)) || {}; } catch { return {}; }
  }
  function keep() {
    try { sessionStorage.setItem(kept, JSON.stringify(corrections)); } catch { /* full: they stay on the page */ }
  }
  const cellsOf = (row) => [...row.querySelectorAll("[data-column]")];
  const cellOf = (row, column) => cellsOf(row).find((input) => input.dataset.column === column);

  // What the load says of each row: its broken cells and their reasons, as the page came.
  const rejected = new Map([...rows].map(([line, row]) => [line, {
    reasons: new Map(cellsOf(row).map((input) => [input.dataset.column, brokenHere(input) ? whyOf(input).textContent : null])),
    general: row.querySelector(".row .why").textContent,
  }]));

  function brokenHere(input) { return input.parentElement.classList.contains("broken"); }
  function whyOf(input) { return input.parentElement.querySelector(".why"); }

  function paint(row, reasons, general) {
    for (const input of cellsOf(row)) {
      const reason = reasons.get(input.dataset.column) ?? null;
      input.parentElement.classList.toggle("broken", reason !== null);
      input.setAttribute("aria-invalid", reason !== null);
      whyOf(input).textContent = reason ?? "";
    }
    row.querySelector(".row .why").textContent = general;
  }

  function note(input) {
    const line = input.closest("tr").dataset.line;
    const cells = corrections[line] || {};
    if (input.value === input.defaultValue) delete cells[input.dataset.column];
    else cells[input.dataset.column] = input.value;
    if (Object.keys(cells).length) corrections[line] = cells;
    else { delete corrections[line]; delete verdicts[line]; }
    keep();
  }

  function draw() {
    let changed = 0, passing = 0;
    for (const [line, row] of rows) {
      const corrected = line in corrections;
      const broken = verdicts[line];
      row.classList.toggle("corrected", corrected);
      row.querySelector(".undo")?.toggleAttribute("hidden", !corrected);
      const verdict = row.querySelector(".verdict");
      verdict.textContent = "";
      verdict.className = "verdict";
      if (!corrected) {
        paint(row, rejected.get(line).reasons, rejected.get(line).general);
        continue;
      }
      changed += 1;
      if (gone.has(line)) {
        verdict.textContent = "resolved by another load";
        verdict.className = "verdict pill warn";
      }
      if (broken === undefined) continue;
      if (!broken.length) passing += 1;
      verdict.textContent = broken.length ? "breaks a rule" : "passes";
      verdict.className = `verdict pill ${broken.length ? "bad" : "good"}`;
      const reasons = new Map();
      for (const { column, reason } of broken) reasons.set(column, reasons.has(column) ? `${reasons.get(column)}; ${reason}` : reason);
      paint(row, reasons, reasons.get("") ?? "");
    }
    if (!dock) return;
    const elsewhere = Object.keys(corrections).filter((line) => !rows.has(line)).length;
    dock.hidden = !(changed + elsewhere);
    tally.textContent = `${changed} corrected, ${passing} pass` + (elsewhere ? `; ${elsewhere} on other pages` : "");
    document.getElementById("replay").disabled = !passing;
  }

  const here = () => Object.fromEntries(Object.entries(corrections).filter(([line]) => rows.has(line)));

  async function ask() {
    const number = ++waiting;
    const sent = here();
    if (!Object.keys(sent).length) { draw(); return; }
    try {
      const answer = await send(bench.dataset.judge, { load: bench.dataset.load, rows: sent });
      if (number !== waiting) return;
      verdicts = answer.broken;
      gone = new Set(answer.gone);
    } catch (error) {
      say(error instanceof TypeError ? SILENT : error.message, error.hint, true);
    }
    draw();
  }

  bench.addEventListener("change", (event) => {
    const input = event.target;
    note(input);
    const old = input.defaultValue;
    const alike = [...rows.values()].filter((row) => {
      const other = cellOf(row, input.dataset.column);
      return other !== input && brokenHere(other) && other.value === old && !other.placeholder;
    });
    last = { column: input.dataset.column, value: input.value, alike };
    if (same) {
      same.hidden = !alike.length || input.value === old;
      same.textContent = `Apply to ${alike.length} like this`;
    }
    ask();
  });
  bench.addEventListener("paste", (event) => {
    const lines = event.clipboardData.getData("text").replace(/\r?\n$/, "").split(/\r?\n/);
    if (lines.length < 2 || event.target.readOnly || event.target.matches("textarea")) return;
    event.preventDefault();  // a column of a spreadsheet: one cell a row, from here down
    let row = event.target.closest("tr");
    for (const value of lines) {
      if (!row) break;
      const input = cellOf(row, event.target.dataset.column);
      if (!input.readOnly) { input.value = value.split("\t")[0]; note(input); }
      row = row.nextElementSibling;
    }
    ask();
  });
  bench.addEventListener("keydown", (event) => {
    const step = { Enter: 1, ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.matches("input[data-column]")) return;  // in a cell of several lines they are the cell's
    const row = step > 0 ? event.target.closest("tr").nextElementSibling : event.target.closest("tr").previousElementSibling;
    if (row) { event.preventDefault(); cellOf(row, event.target.dataset.column).focus(); }
  });
  bench.addEventListener("click", (event) => {
    if (!event.target.matches(".undo")) return;
    const row = event.target.closest("tr");
    for (const input of cellsOf(row)) { input.value = input.defaultValue; note(input); }
    if (same) same.hidden = true;
    draw();
    (cellsOf(row).find(brokenHere) || cellsOf(row)[0]).focus();  // the button is gone
    ask();
  });
  same?.addEventListener("click", () => {
    for (const row of last.alike) { const input = cellOf(row, last.column); input.value = last.value; note(input); }
    same.hidden = true;
    ask();
  });
  document.getElementById("replay")?.addEventListener("click", async (event) => {
    event.target.disabled = true;
    try {
      const answer = await send(bench.dataset.replay, { load: bench.dataset.load, rows: here() });
      sessionStorage.setItem("said", answer.said);
      location.assign(`/imports/${encodeURIComponent(bench.dataset.import)}`);
    } catch (error) {
      say(error instanceof TypeError ? SILENT : error.message, error.hint, true);
      event.target.disabled = false;
    }
  });

  for (const [line, cells] of Object.entries(corrections)) {
    for (const [column, value] of Object.entries(cells)) {
      const input = rows.has(line) && cellOf(rows.get(line), column);
      if (input) input.value = value;
    }
  }
  // What was loaded meanwhile needs no correction any more. A row that is on the page says so instead.
  (async () => {
    const lines = Object.entries(corrections).slice(0, 1000);
    if (!lines.length) return;
    try {
      const answer = await send(bench.dataset.judge, { load: bench.dataset.load, rows: Object.fromEntries(lines) });
      for (const line of answer.gone) if (!rows.has(line)) delete corrections[line];
      keep();
    } catch { /* the next question tells */ }
    ask();
  })();
}
for (const select of document.querySelectorAll("select[data-submit]")) select.addEventListener("change", () => select.form.submit());
