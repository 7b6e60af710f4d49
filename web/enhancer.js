// A model in the browser: what to do is decided on a small copy, then workers do it tile by tile.
import { Refusal } from "./refusal.js";

const TILE = 768; // px; a multiple of 8, as the denoiser's cells
const REACH = 56; // px around a tile that it depends on
const MOST_THREADS = 4;
const ALIKE = 1; // of 255: so much may a graphics card differ from the processor

export class Enhancer {
  runsOn = "processor";
  #looks; #threads;

  // Loads what it needs by script tags, which also a page that was opened from a disk may do.
  static async start() {
    if (typeof WebAssembly !== "object") {
      throw new Refusal("This browser does not run WebAssembly, or it is switched off; the page needs it.");
    }
    const [programs, processor] = await Promise.all([part("model"), part("processor")]);
    const cores = navigator.hardwareConcurrency ?? 2, many = Math.min(MOST_THREADS, cores > 2 ? cores - 1 : cores);
    const each = (_, index) => Thread.start(processor, index ? { tile: programs.tile } : programs, ["wasm"]);
    const enhancer = new Enhancer();
    enhancer.#threads = await Promise.all(Array.from({ length: many }, each));
    enhancer.#looks = enhancer.#threads[0];
    graphicsCard(enhancer.#looks, programs).then((card) => {
      if (card) Object.assign(enhancer, { runsOn: "graphics card" }).#threads = [card];
    });
    return enhancer;
  }

  // What the whole picture tells of its light.
  light(picture) {
    return this.#looks.do("light", picture.thinned());
  }

  // The picture enhanced, tile by tile, into a canvas of its size. `told(done, of)` says how far it is; a signal ends it.
  async enhance(picture, decided, strength, canvas, told, signal) {
    const { width, height } = picture, context = canvas.getContext("2d", { alpha: false });
    const tiles = [];
    for (let top = 0; top < height; top += TILE) for (let left = 0; left < width; left += TILE) tiles.push({ top, left });
    const all = tiles.length;
    let done = 0;
    await Promise.all(this.#threads.map(async (thread) => {
      for (let tile = tiles.shift(); tile && !signal.aborted; tile = tiles.shift()) {
        const seen = { top: Math.max(0, tile.top - REACH), left: Math.max(0, tile.left - REACH) };
        const inside = {
          top: tile.top - seen.top, left: tile.left - seen.left,
          width: Math.min(TILE, width - tile.left), height: Math.min(TILE, height - tile.top),
        };
        const size = {
          width: Math.min(width, tile.left + TILE + REACH) - seen.left,
          height: Math.min(height, tile.top + TILE + REACH) - seen.top,
        };
        const cut = await thread.do("tile", {
          ...size, inside, decided, strength,
          pixels: picture.pixels(seen.left, seen.top, size.width, size.height),
          place: [seen.top, seen.left, height, width],
        });
        context.putImageData(new ImageData(cut, inside.width, inside.height), tile.left, tile.top);
        told(++done, all);
      }
    }));
    signal.throwIfAborted();
  }
}

// A worker as a function that takes a while.
class Thread {
  #worker; #waiting = new Map(); #asked = 0;

  static async start({ source, runtime }, programs, providers) {
    const begun = new Thread();
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    begun.#worker = new Worker(address);
    begun.#worker.onmessage = ({ data: { id, result, error } }) => {
      const { resolve, reject } = begun.#waiting.get(id);
      begun.#waiting.delete(id);
      if (error === undefined) resolve(result);
      else reject(new Refusal(sentence(error)));
    };
    begun.#worker.onerror = (event) => {
      event.preventDefault();
      for (const { reject } of begun.#waiting.values()) reject(new Refusal(sentence(event.message ?? "")));
      begun.#waiting.clear();
    };
    await begun.do("begin", { runtime, providers, programs });
    URL.revokeObjectURL(address);
    return begun;
  }

  do(task, given) {
    const id = ++this.#asked;
    return new Promise((resolve, reject) => {
      this.#waiting.set(id, { resolve, reject });
      this.#worker.postMessage({ id, task, given }, given.pixels ? [given.pixels.buffer] : []);
    });
  }

  end() {
    this.#worker.terminate();
  }
}

// A worker on the graphics card where there is one that gives the processor's pictures, and faster.
async function graphicsCard(processor, programs) {
  let worker;
  try {
    if (!(await navigator.gpu?.requestAdapter())) return null;
    worker = await Thread.start(await part("graphics"), { tile: programs.tile }, ["webgpu"]);
    const decided = await processor.do("light", { pixels: ramp(160), width: 160, height: 160 });
    const [slow, fast] = [await timed(processor, decided), await timed(worker, decided)];
    const apart = fast.pixels.reduce((most, value, at) => Math.max(most, Math.abs(value - slow.pixels[at])), 0);
    if (apart <= ALIKE && fast.milliseconds < slow.milliseconds) return worker;
  } catch {
    // whatever is amiss with the card, there is the processor
  }
  worker?.end();
  return null;
}

async function timed(worker, decided) {
  const side = 256;
  const ask = () => worker.do("tile", {
    pixels: ramp(side), width: side, height: side, inside: { top: 0, left: 0, width: side, height: side },
    place: [0, 0, side, side], strength: 1, decided,
  });
  await ask(); // the first time pays for warming up
  const begun = performance.now(), pixels = await ask();
  return { pixels, milliseconds: performance.now() - begun };
}

// A dark picture with something in it.
function ramp(side) {
  return Uint8ClampedArray.from({ length: 4 * side * side }, (_, at) => (at % 4 === 3 ? 255 : ((at >> 2) * 7) % 61));
}

// What a script beside the page brings: each calls `lleBrings` with its name.
const parts = {};
globalThis.lleBrings = (name, brought) => { parts[name] = brought; };

function part(name) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = `${name}.js`;
    script.onload = () => (parts[name] ? resolve(parts[name]) : script.onerror());
    script.onerror = () => reject(new Refusal(`${name}.js is missing beside the page; keep all its files in one folder.`));
    document.head.append(script);
  });
}

function sentence(error) {
  if (/memory|allocat|bad_alloc|out of bounds/i.test(error)) {
    return "The photo does not fit into memory; close other tabs and load this page anew, or make the photo smaller first.";
  }
  if (/simd|wasm|webassembly|compile/i.test(error)) {
    return `This browser cannot run the model (${error.slice(0, 120)}); a newer one can.`;
  }
  return `The photo could not be enhanced (${error.slice(0, 200) || "the browser does not say why"}).`;
}
