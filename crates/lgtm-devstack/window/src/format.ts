// Numbers, lengths of time and moments as a person reads them.

const UNITS: [number, string][] = [
  [1, "ns"],
  [1e3, "µs"],
  [1e6, "ms"],
  [1e9, "s"],
];

function significant(value: number): string {
  if (value === 0) return "0";
  const digits = Math.abs(value) >= 100 ? 0 : Math.abs(value) >= 10 ? 1 : 2;
  return String(Number(value.toFixed(digits)));
}

/** Nanoseconds, as `12.3 ms`; from two minutes on as `2 m 5 s`. */
export function duration(ns: number | null | undefined): string {
  if (ns === null || ns === undefined) return "–";
  if (ns >= 120e9) {
    const seconds = Math.round(ns / 1e9);
    const hours = Math.floor(seconds / 3600);
    const minutes = Math.floor((seconds % 3600) / 60);
    return hours > 0 ? `${hours} h ${minutes} m` : `${minutes} m ${seconds % 60} s`;
  }
  let [scale, unit] = UNITS[0]!;
  for (const [next, name] of UNITS) if (ns >= next) [scale, unit] = [next, name];
  return `${significant(ns / scale)} ${unit}`;
}

/** Milliseconds since 1970 of nanoseconds as text, which are too many digits for a number. */
export function milliseconds(ns: string): number {
  return Number(BigInt(ns) / 1000n) / 1000;
}

const two = (number: number) => String(number).padStart(2, "0");

/** The time of day with milliseconds; with the date if it is another day. */
export function clock(ms: number, withMilliseconds = true): string {
  const time = new Date(ms);
  const day = time.toDateString() === new Date().toDateString() ? "" : `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())} `;
  const fraction = withMilliseconds ? `.${String(time.getMilliseconds()).padStart(3, "0")}` : "";
  return `${day}${two(time.getHours())}:${two(time.getMinutes())}:${two(time.getSeconds())}${fraction}`;
}

/** A moment in full, with its offset from UTC, for those who compare it with other clocks. */
export function moment(ns: string): string {
  const whole = new Date(milliseconds(ns));
  const below = ns.slice(-9);
  return `${whole.toISOString().slice(0, 19)}.${below}Z`;
}

export function bytes(number: number): string {
  for (const [scale, unit] of [[2 ** 30, "GiB"], [2 ** 20, "MiB"], [2 ** 10, "KiB"]] as [number, string][])
    if (number >= scale) return `${significant(number / scale)} ${unit}`;
  return `${number} B`;
}

/** A count in full up to six digits, then shortened. */
export function count(number: number): string {
  if (Math.abs(number) < 1e6 && Number.isInteger(number)) return number.toLocaleString("en-US");
  return short(number);
}

/** A number in few characters, as `1.2k`. */
export function short(number: number): string {
  const size = Math.abs(number);
  if (size >= 1e15 || (size > 0 && size < 1e-4)) return number.toExponential(1);
  for (const [scale, unit] of [[1e12, "T"], [1e9, "G"], [1e6, "M"], [1e3, "k"]] as [number, string][])
    if (size >= scale) return `${significant(number / scale)}${unit}`;
  if (size < 0.01 && size > 0) return String(Number(number.toPrecision(2)));
  return significant(number);
}

/** A value of a metric in its unit. */
export function measured(number: number | null | undefined, unit: string, perSecond = false): string {
  if (number === null || number === undefined) return "–";
  const after = perSecond ? "/s" : "";
  if (unit === "seconds" && !perSecond) return number === 0 ? "0 s" : number < 0 ? `-${duration(-number * 1e9)}` : duration(number * 1e9);
  if (unit === "bytes") return `${number < 0 ? "-" : ""}${bytes(Math.round(Math.abs(number)))}${after}`;
  if (unit === "ratio") return `${significant(number * 100)} %${after}`;
  if (unit === "percent") return `${significant(number)} %${after}`;
  return `${short(number)}${after}`;
}

export function percent(share: number): string {
  if (share === 0) return "0 %";
  const value = share * 100;
  return value < 0.1 ? "<0.1 %" : `${value < 10 ? Number(value.toFixed(1)) : Math.round(value)} %`;
}

export function plural(number: number, one: string, many = `${one}s`): string {
  return `${count(number)} ${number === 1 ? one : many}`;
}
