// Arrays that encode.py wrote, as typed arrays.
const TYPES = { float32: Float32Array, float64: Float64Array, uint16: Uint16Array, uint8: Uint8Array };

async function inflate(text) {
  const packed = atob(text);
  const bytes = new Uint8Array(packed.length);
  for (let i = 0; i < packed.length; i++) bytes[i] = packed.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// Weights of shape (snapshots, units, entries) as a function of the three indices.
async function decodeWeights(packed) {
  const planes = await inflate(packed.data);
  const [, units, entries] = packed.shape;
  const scales = (await decode(packed.scales)).values;
  const count = planes.length / 2;
  return (snapshot, unit, entry) => {
    const column = snapshot * units + unit;
    const place = column * entries + entry;
    return (((planes[place] | (planes[count + place] << 8)) << 16) >> 16) * scales[column];
  };
}

// The same value with every packed array replaced by { shape, values }, and packed weights by functions.
async function decode(value) {
  if (value === null || typeof value !== "object") return value;
  if (value.dtype !== undefined && typeof value.data === "string") {
    const bytes = await inflate(value.data);
    return { shape: value.shape, values: new TYPES[value.dtype](bytes.buffer) };
  }
  if (value.scales !== undefined && typeof value.data === "string") return decodeWeights(value);
  if (Array.isArray(value)) return Promise.all(value.map(decode));
  const entries = await Promise.all(Object.entries(value).map(async ([key, one]) => [key, await decode(one)]));
  return Object.fromEntries(entries);
}
