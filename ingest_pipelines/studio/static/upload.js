// A file is dropped on, or chosen in, what has data-upload: its bytes as they are, with their progress.
"use strict";

function upload(file, place) {
  const bar = document.createElement("progress");
  const words = document.createElement("span");
  const cancel = document.createElement("button");
  const box = document.createElement("div");
  box.className = "notice busy uploading";
  words.setAttribute("role", "status");
  cancel.type = "button";
  cancel.textContent = "Cancel upload";
  bar.max = file.size || 1;
  bar.value = 0;
  bar.setAttribute("aria-label", "Uploaded");
  box.append(words, bar, cancel);
  (document.querySelector("#uploads") || said).append(box);
  const request = new XMLHttpRequest();
  const [ending] = file.name.toLowerCase().match(/\.[a-z0-9]+(?:\.(?:gz|zip))?$/) || [""];
  request.open("POST", `${place.dataset.upload}?ending=${encodeURIComponent(ending)}`);
  request.setRequestHeader("Content-Type", "application/octet-stream");
  request.setRequestHeader("X-Studio-Token", token);
  const tell = (loaded) => {
    bar.value = loaded;
    words.textContent = `uploading ${loaded.toLocaleString("en")} of ${file.size.toLocaleString("en")} bytes`;
  };
  tell(0);
  request.upload.addEventListener("progress", (event) => tell(event.loaded));
  const ended = (text, hint, bad) => { box.remove(); say(text, hint, bad); };
  cancel.addEventListener("click", () => request.abort());
  request.addEventListener("abort", () => ended("the upload was cancelled; nothing was kept", "", true));
  request.addEventListener("error", () => ended("the upload was cut off; nothing was kept", "try again", true));
  request.addEventListener("load", () => {
    let answer = {};
    try { answer = JSON.parse(request.responseText); } catch { /* no words */ }
    if (request.status !== 200) return ended(answer.error || "the studio refused it", answer.hint, true);
    sessionStorage.setItem("said", answer.said);
    if (answer.goto) location.assign(answer.goto);
    else location.reload();
  });
  request.send(file);
}

function placeOf(event) {
  const carries = event.dataTransfer && [...event.dataTransfer.types].includes("Files");
  return carries ? event.target.closest("[data-upload]") : null;
}

let over = null;

function lit(place) {
  if (over === place) return;
  if (over) over.classList.remove("over");
  over = place;
  if (over) over.classList.add("over");
}

document.addEventListener("dragover", (event) => {
  lit(placeOf(event));
  if (![...event.dataTransfer.types].includes("Files")) return;
  event.preventDefault(); // a file that misses its place is not opened instead of the page
  event.dataTransfer.dropEffect = over ? "copy" : "none";
});
document.addEventListener("dragleave", (event) => { if (!event.relatedTarget) lit(null); });
document.addEventListener("drop", (event) => {
  const place = placeOf(event);
  lit(null);
  if ([...event.dataTransfer.types].includes("Files")) event.preventDefault();
  const [file, another] = event.dataTransfer.files;
  if (!place || !file) return;
  if (another) return say("one file at a time; nothing was uploaded", "drop them one after the other", true);
  upload(file, place);
});
document.addEventListener("change", (event) => {
  const place = event.target.type === "file" && event.target.closest("[data-upload]");
  if (place && event.target.files[0]) upload(event.target.files[0], place);
});
