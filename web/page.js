// The page: a photo goes in; before, after and a file to keep come out, and nothing leaves the browser.
import "../pipelines/templates/compare.js";
import { Enhancer } from "./enhancer.js";
import { withExifOf } from "./exif.js";
import { canvasLike, encoded, read } from "./picture.js";
import { Refusal } from "./refusal.js";

const SHOWN = 1280; // px, longer side of what is shown before the whole picture is done
const QUALITY = 0.95;
const by = (id) => document.getElementById(id);
const figure = document.querySelector(".compare"), drop = document.querySelector(".drop");
const [before, after] = [figure.querySelector(".left img"), figure.querySelector(".layer img")];
const starting = Enhancer.start();
starting.catch(() => {}); // told when a photo is there
let current = null; // the photo on the page
let under = new AbortController(); // what is being computed
let waiting; // for the strength to stay as it is

function say(text, isError = false) {
  by("status").textContent = text;
  by("status").classList.toggle("error", isError);
}

function show(image, blob) {
  URL.revokeObjectURL(image.src);
  image.src = URL.createObjectURL(blob);
}

// Runs one job; another one that begins ends it. Whatever fails is told in a sentence.
async function job(name, work) {
  clearTimeout(waiting);
  under.abort();
  const { signal } = (under = new AbortController());
  const progress = by("progress");
  const told = (done, of) => Object.assign(progress, { value: done / of, hidden: signal.aborted || of < 2 || done === of });
  document.body.setAttribute("aria-busy", "true");
  try {
    await work(await starting, signal, told);
  } catch (error) {
    if (signal.aborted) return;
    const reason = error instanceof Refusal ? error.message : `could not be enhanced (${error?.message ?? error})`;
    say(/[.]$/.test(reason) ? reason : `${name}: ${reason}.`, true);
  } finally {
    if (!signal.aborted) {
      progress.hidden = true;
      document.body.removeAttribute("aria-busy");
    }
  }
}

function open(file) {
  say(`Reading ${file.name} …`);
  return job(file.name, async (enhancer, signal, told) => {
    const picture = await read(file);
    if (signal.aborted) return picture.close();
    current?.picture.close();
    current = { file, picture, small: await picture.within(SHOWN), decided: await enhancer.light(picture), whole: null };
    figure.style.setProperty("--ratio", picture.width / picture.height);
    by("facts").querySelector("dd").textContent = `${picture.width} × ${picture.height}`;
    by("runs").textContent = enhancer.runsOn;
    [before.alt, after.alt] = [`${file.name}: before`, `${file.name}: after`];
    const untouched = canvasLike(current.small);
    untouched.getContext("2d").putImageData(imageDataOf(current.small), 0, 0);
    show(before, await encoded(untouched, "image/jpeg", QUALITY));
    await preview(enhancer, signal, told);
    by("result").hidden = false;
    document.body.classList.add("done");
    figure.dispatchEvent(new Event("reset"));
  });
}

function imageDataOf(picture) {
  return new ImageData(picture.pixels(0, 0, picture.width, picture.height), picture.width, picture.height);
}

async function preview(enhancer, signal, told) {
  say(`Enhancing ${current.file.name} …`);
  const canvas = canvasLike(current.small);
  await enhancer.enhance(current.small, current.decided, strength(), canvas, told, signal);
  const shown = await encoded(canvas, "image/jpeg", QUALITY);
  signal.throwIfAborted();
  show(after, shown);
  current.whole = null;
  say(`${current.file.name} is enhanced${current.small === current.picture ? "" : "; shown smaller, saved at full size"}.`);
}

// The whole picture as a file, which is then also what is shown.
function save() {
  const { file, picture, decided } = current, type = file.type === "image/png" ? "image/png" : "image/jpeg";
  return job(file.name, async (enhancer, signal, told) => {
    if (!current.whole) {
      say(`Enhancing ${file.name} at full size …`);
      const begun = performance.now(), canvas = canvasLike(picture);
      await enhancer.enhance(picture, decided, strength(), canvas, told, signal);
      const plain = await encoded(canvas, type, QUALITY);
      signal.throwIfAborted();
      current.whole = type === "image/jpeg" && file.type === type ? await withExifOf(file, plain) : plain;
      by("seconds").textContent = `${((performance.now() - begun) / 1000).toFixed(1)} s`;
      by("seconds").parentElement.hidden = false;
      show(after, current.whole);
    }
    const link = document.createElement("a");
    link.href = after.src;
    link.download = file.name.replace(/\.[^.]*$/, "") + (type === "image/png" ? "-enhanced.png" : "-enhanced.jpg");
    link.click();
    say(`${link.download} is saved.`);
  });
}

const strength = () => Number(by("strength").value);

by("strength").addEventListener("input", () => {
  by("much").textContent = strength();
  by("strength").setAttribute("aria-valuetext", strength() === 1 ? "1, as trained" : `${strength()}`);
  if (!current) return;
  current.whole = null;
  clearTimeout(waiting);
  waiting = setTimeout(() => job(current.file.name, preview), 120);
});
by("save").addEventListener("click", save);
by("photo").addEventListener("change", (event) => {
  if (event.target.files[0]) open(event.target.files[0]);
  event.target.value = ""; // so that the same photo can be chosen again
});
for (const name of ["dragover", "dragleave", "drop"]) {
  window.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.toggle("over", name === "dragover");
    if (name === "drop" && event.dataTransfer.files[0]) open(event.dataTransfer.files[0]);
  });
}
if (location.protocol.startsWith("http")) navigator.serviceWorker?.register("offline.js").catch(() => {}); // it works without
