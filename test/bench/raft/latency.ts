/** What one run of callers did. */
export interface Load {
  /** Operations a second. */
  readonly rate: number;
  /** Of the time of one operation, in milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/** Keeps so many callers busy for `ms`, each with one operation after the other. */
export async function runLoad(
  callers: number,
  ms: number,
  operate: (caller: number, i: number) => Promise<unknown>,
): Promise<Load> {
  const times: number[] = [];
  const started = performance.now();
  const caller = async (name: number) => {
    for (let i = 0; performance.now() - started < ms; i++) {
      const from = performance.now();
      await operate(name, i);
      times.push(performance.now() - from);
    }
  };
  await Promise.all(Array.from({ length: callers }, (_, i) => caller(i)));
  const rate = (times.length * 1000) / (performance.now() - started);
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? Number.NaN;
  return { rate, p50: at(0.5), p99: at(0.99) };
}
