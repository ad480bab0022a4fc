// Axes: the place of a value on a linear or logarithmic axis, and ticks with labels.
const SUPERSCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹";

function formatNumber(value, digits = 6) {
  if (value === null || value === undefined || Number.isNaN(value)) return "undefined";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "−∞";
  const text = Number(value).toPrecision(digits);
  return String(Number(text)).replace("e+", "e").replaceAll("-", "−");
}

// On a logarithmic axis zero has a place to the left of the least positive value, if that is given.
function makeScale(log, leastPositive = NaN) {
  const zero = Math.log10(leastPositive) - 0.4;
  const place = (v) => (v > 0 ? Math.log10(v) : v === 0 ? zero : NaN);
  return log ? { log, zero, place } : { log, place: (v) => v };
}

function linearTicks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((factor) => power * factor >= rough) ?? 10);
  const ticks = [];
  for (let i = Math.ceil(low / step); i * step <= high + 1e-9 * step && ticks.length < 50; i++) ticks.push(i * step);
  return ticks.map((tick) => [tick, formatNumber(Number(tick.toPrecision(12)), 8)]);
}

function powerOfTen(exponent) {
  if (exponent >= -2 && exponent <= 4) return String(Number((10 ** exponent).toPrecision(6)));
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPTS[digit]).join("");
  return `10${exponent < 0 ? "⁻" : ""}${digits}`;
}

function logTicks(low, high, most, zero) {
  const [first, last] = [Math.ceil(low - 1e-9), Math.floor(high + 1e-9)];
  const ticks = [];
  const every = Math.max(1, Math.ceil((last - first + 1) / most));
  for (let e = first; e <= last && ticks.length < 50; e++) if (e % every === 0) ticks.push([e, powerOfTen(e)]);
  if (last - first < 1) {
    const values = linearTicks(10 ** low, 10 ** high, most).filter(([value]) => value > 0);
    return values.map(([value, label]) => [Math.log10(value), label]);
  }
  if (zero >= low && zero <= high && zero < first - 0.15) ticks.unshift([zero, "0"]);
  return ticks;
}

function setTicks(axis, range, scale, most) {
  const [low, high] = [Math.min(range.start, range.end), Math.max(range.start, range.end)];
  if (!(high > low) || !Number.isFinite(high - low)) return;
  const ticks = scale.log ? logTicks(low, high, most, scale.zero) : linearTicks(low, high, most);
  axis.ticker.ticks = ticks.map(([place]) => place);
  axis.major_label_overrides = new Map(ticks);
}

function setRange(range, low, high) {
  range.setv({ start: low, end: high, reset_start: low, reset_end: high });
}

// A round number that is at least a positive value, so that a range changes rarely while the cursor moves.
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return power * ([1, 1.5, 2, 3, 5, 7.5, 10].find((factor) => factor * power >= value) ?? 10);
}

// The range of finite numbers with some room; [0, 1] without any.
function paddedRange(values, share = 0.05) {
  let [low, high] = [Infinity, -Infinity];
  for (const v of values) {
    if (v < low && Number.isFinite(v)) low = v;
    if (v > high && Number.isFinite(v)) high = v;
  }
  if (low > high) return [0, 1];
  const room = (high - low) * share || Math.abs(high) * 0.1 || 1;
  return [low - room, high + room];
}
