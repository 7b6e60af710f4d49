// The page in one folder: node build.mjs MODEL_FOLDER [OUTPUT_FOLDER]. What is large goes into scripts, for a page that
// was opened from a disk may load those and nothing else.
import { createHash } from "node:crypto";
import { copyFileSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { build } from "esbuild";

const [model, output = "dist"] = process.argv.slice(2);
if (!model) throw new Error("name the folder of light.onnx and tile.onnx: node build.mjs FOLDER");
const here = import.meta.dirname, runtimes = join(here, "node_modules/onnxruntime-web/dist");
const settings = { absWorkingDir: here, bundle: true, minify: true, target: "es2022", legalComments: "inline", logLevel: "warning" };

rmSync(output, { recursive: true, force: true });
mkdirSync(output, { recursive: true });
copyFileSync(join(here, "index.html"), join(output, "index.html"));
await build({ ...settings, entryPoints: ["page.js", "page.css"], outdir: resolve(output) });
brings("model", { light: bytesOf(join(model, "light.onnx")), tile: bytesOf(join(model, "tile.onnx")) });
await runtime("processor", "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm");
await runtime("graphics", "ort.webgpu.bundle.min.mjs", "ort-wasm-simd-threaded.asyncify.wasm");
const files = readdirSync(output).filter((name) => name !== "graphics.js"); // only where there is a card
const kept = createHash("sha256");
for (const name of files) kept.update(readFileSync(join(output, name)));
const worker = readFileSync(join(here, "offline.js"), "utf8")
  .replace("LLE_KEPT", JSON.stringify(`lle-${kept.digest("hex").slice(0, 16)}`))
  .replace("LLE_FILES", JSON.stringify(["./", ...files]));
writeFileSync(join(output, "offline.js"), worker);
for (const name of readdirSync(output)) {
  console.log(`${join(output, name)}  ${(statSync(join(output, name)).size / 1e6).toFixed(2)} MB`);
}

async function runtime(name, library, binary) {
  const alias = { "onnxruntime-web": join(runtimes, library) };
  const define = { "import.meta.url": "self.location.href" }; // no module: a page from a disk can start none
  const { outputFiles } = await build({ ...settings, alias, define, entryPoints: ["worker.js"], write: false });
  brings(name, { source: JSON.stringify(outputFiles[0].text), runtime: bytesOf(join(runtimes, binary)) });
}

function bytesOf(file) {
  return `bytes("${readFileSync(file).toString("base64")}")`;
}

function brings(name, values) {
  const decode = "const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));";
  const object = Object.entries(values).map(([key, value]) => `${key}: ${value}`).join(",\n");
  writeFileSync(join(output, `${name}.js`), `(() => {\n${decode}\nlleBrings("${name}", {\n${object}\n});\n})();\n`);
}
