// Photos as the browser decodes them: upright, 8-bit sRGB, on white.
import { Refusal } from "./refusal.js";

export const MOST_PIXELS = 100e6;
const LOOKED_AT = 640; // px: rows and columns that the look at a small copy needs

// The picture of a file; raises a Refusal for one that is none, or is too large.
export async function read(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file, { imageOrientation: "from-image" });
  } catch {
    throw new Refusal("this browser cannot read it as a photo; try a JPEG, PNG, WebP or AVIF");
  }
  const { width, height } = bitmap;
  if (width * height > MOST_PIXELS) {
    bitmap.close();
    throw new Refusal(`${width} × ${height} pixels are over the limit of ${MOST_PIXELS / 1e6} megapixels; make it smaller first`);
  }
  return new Picture(bitmap, width, height);
}

export class Picture {
  #source;

  constructor(source, width, height) {
    this.#source = source;
    this.width = width;
    this.height = height;
  }

  // RGBA of a part of it.
  pixels(left, top, width, height) {
    const context = canvasOf(width, height).getContext("2d", { willReadFrequently: true });
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(this.#source, -left, -top, this.width, this.height);
    return context.getImageData(0, 0, width, height).data;
  }

  // Every n-th row and column, as the model looks at it.
  thinned() {
    const [across, down] = [this.width, this.height].map((length) => Math.max(1, Math.floor(length / LOOKED_AT)));
    const [width, height] = [Math.ceil(this.width / across), Math.ceil(this.height / down)];
    const pixels = new Uint8ClampedArray(4 * width * height), strip = 64 * down;
    for (let top = 0; top < this.height; top += strip) {
      const rows = Math.min(strip, this.height - top), seen = this.pixels(0, top, this.width, rows);
      for (let row = 0; row < rows; row += down) {
        for (let column = 0; column < width; column++) {
          const from = 4 * (row * this.width + column * across);
          pixels.set(seen.subarray(from, from + 4), 4 * (((top + row) / down) * width + column));
        }
      }
    }
    return { pixels, width, height };
  }

  // A copy whose longer side is at most so many pixels, or the picture itself.
  async within(side) {
    const factor = side / Math.max(this.width, this.height);
    if (factor >= 1) return this;
    const [width, height] = [this.width, this.height].map((length) => Math.max(1, Math.round(length * factor)));
    const small = canvasOf(width, height), context = small.getContext("2d", { willReadFrequently: true });
    context.imageSmoothingQuality = "high";
    context.fillStyle = "#fff";
    context.fillRect(0, 0, width, height);
    context.drawImage(this.#source, 0, 0, width, height);
    return new Picture(small, width, height);
  }

  close() {
    this.#source.close?.();
  }
}

export function canvasOf(width, height) {
  return Object.assign(document.createElement("canvas"), { width, height });
}

// An empty canvas of a picture's size, if the browser has one so large and lets pages read what they have drawn.
export function canvasLike({ width, height }) {
  const canvas = canvasOf(width, height), context = canvas.getContext("2d", { alpha: false });
  let read;
  try {
    context.fillStyle = "rgb(40 80 120)";
    context.fillRect(width - 1, height - 1, 1, 1);
    read = context.getImageData(width - 1, height - 1, 1, 1).data;
  } catch {
    // told below
  }
  if (!read?.[2]) {
    throw new Refusal(`this browser has no room for a picture of ${width} × ${height} pixels; make it smaller first`);
  }
  if ([40, 80, 120].some((value, channel) => Math.abs(read[channel] - value) > 2)) {
    throw new Refusal("this browser falsifies what a page reads of its pictures; allow this page to read its canvas");
  }
  return canvas;
}

// The file of a canvas, as a Blob; its pixels alone: what else a photo's file holds, `exif.js` adds.
export function encoded(canvas, type, quality) {
  return new Promise((resolve, reject) => {
    const none = () => reject(new Refusal("the browser could not write the picture; make it smaller first"));
    canvas.toBlob((blob) => (blob ? resolve(blob) : none()), type, quality);
  });
}
