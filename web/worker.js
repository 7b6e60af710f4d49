// One thread: the two programs of a model on ONNX Runtime. The page starts some of these and gives each a tile at a time.
import * as ort from "onnxruntime-web"; // build.mjs says which build of it

const sessions = {};

const tasks = {
  async begin({ runtime, providers, programs }) {
    ort.env.logLevel = "error";
    Object.assign(ort.env.wasm, { wasmBinary: runtime, numThreads: 1 });
    for (const [name, program] of Object.entries(programs)) {
      sessions[name] = await ort.InferenceSession.create(program, { executionProviders: providers });
    }
  },

  // What a small copy tells: name -> { data, dims }.
  async light({ pixels, width, height }) {
    const found = await sessions.light.run({ image: planes(pixels, width, height) });
    return Object.fromEntries(Object.entries(found).map(([name, { data, dims }]) => [name, { data, dims }]));
  },

  // RGBA of a tile with what lies around it -> RGBA of the tile alone.
  async tile({ pixels, width, height, place, strength, decided, inside }) {
    const given = Object.entries(decided).map(([name, { data, dims }]) => [name, new ort.Tensor("float32", data, dims)]);
    const { enhanced } = await sessions.tile.run({
      image: planes(pixels, width, height),
      place: new ort.Tensor("float32", place, [4]),
      strength: new ort.Tensor("float32", [strength], [1]),
      ...Object.fromEntries(given),
    });
    const cut = bytes(await enhanced.getData(), width, height, inside);
    enhanced.dispose();
    return cut;
  },
};

onmessage = async ({ data: { id, task, given } }) => {
  try {
    const result = await tasks[task](given);
    postMessage({ id, result }, result instanceof Uint8ClampedArray ? [result.buffer] : []);
  } catch (error) {
    postMessage({ id, error: String(error?.message ?? error) });
  }
};

function planes(pixels, width, height) {
  const size = width * height, values = new Float32Array(3 * size);
  for (let at = 0, from = 0; at < size; at++, from += 4) {
    values[at] = pixels[from] / 255;
    values[size + at] = pixels[from + 1] / 255;
    values[2 * size + at] = pixels[from + 2] / 255;
  }
  return new ort.Tensor("float32", values, [1, 3, height, width]);
}

function bytes(values, width, height, inside) {
  const size = width * height, cut = new Uint8ClampedArray(4 * inside.width * inside.height);
  let to = 0;
  for (let row = 0; row < inside.height; row++) {
    let from = (inside.top + row) * width + inside.left;
    for (let column = 0; column < inside.width; column++, from++, to += 4) {
      cut[to] = 255 * values[from]; // a clamped array rounds
      cut[to + 1] = 255 * values[size + from];
      cut[to + 2] = 255 * values[2 * size + from];
      cut[to + 3] = 255;
    }
  }
  return cut;
}
