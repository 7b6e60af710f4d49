// When, where and with what a photo was taken goes on with it; how it lay and its thumbnail do not, for both have changed.

// A JPEG (Blob) with the EXIF of another.
export async function withExifOf(original, enhanced) {
  const exif = exifOf(new Uint8Array(await original.slice(0, 1 << 18).arrayBuffer()));
  if (!exif) return enhanced;
  return new Blob([enhanced.slice(0, 2), exif, enhanced.slice(2)], { type: enhanced.type });
}

// The segment of a JPEG's bytes, upright and without a thumbnail; null where there is none.
export function exifOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let at = 2; at + 10 < bytes.length && bytes[at] === 0xff && bytes[at + 1] !== 0xda; ) {
    const length = 2 + view.getUint16(at + 2);
    if (bytes[at + 1] === 0xe1 && String.fromCharCode(...bytes.subarray(at + 4, at + 10)) === "Exif\0\0") {
      return at + length <= bytes.length ? upright(bytes.slice(at, at + length)) : null;
    }
    at += length;
  }
  return null;
}

function upright(segment) {
  const view = new DataView(segment.buffer), begin = 10, little = view.getUint16(begin) === 0x4949;
  try {
    const first = begin + view.getUint32(begin + 4, little), entries = view.getUint16(first, little);
    for (let entry = first + 2; entry < first + 2 + 12 * entries; entry += 12) {
      if (view.getUint16(entry, little) === 0x0112) view.setUint16(entry + 8, 1, little);
    }
    view.setUint32(first + 2 + 12 * entries, 0, little); // the directory of the thumbnail
    return segment;
  } catch {
    return null; // it points outside itself
  }
}
