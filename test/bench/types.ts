/** Pure: no clock, no I/O, no randomness. */

/** One measured case. */
export interface BenchRow {
  readonly bench: string;
  readonly case: string;
  /** Median of `count` runs: at least 10, or 5 where each run is a failure that has to be lived through. */
  readonly value: number;
  readonly min: number;
  readonly max: number;
  readonly count: number;
  readonly unit: string;
  readonly better: "higher" | "lower";
  /** What `value` must reach, in the same unit. */
  readonly target?: number;
  /** The same measured on someone else's program. */
  readonly other?: { readonly name: string; readonly value: number };
}

export interface BenchOptions {
  /** Few runs, to see that it works; its figures say little. */
  readonly quick: boolean;
}

/** What `test/bench/NAME.ts` exports. */
export interface Bench {
  /** Measures; prints nothing. Leaves nothing behind, also when it throws. */
  run(options: BenchOptions): Promise<readonly BenchRow[]>;
}

/** A row from the measured values of its runs. Throws RangeError when there are none. */
export function rowOf(name: Omit<BenchRow, "value" | "min" | "max" | "count">, values: readonly number[]): BenchRow {
  if (values.length === 0) throw new RangeError(`bench ${name.bench}, case ${name.case}: no value was measured`);
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
  return { ...name, value: median, min: sorted[0]!, max: sorted.at(-1)!, count: sorted.length };
}

/** Whether the row's value is as good as its target; true without one. */
export function reachesTarget(row: BenchRow): boolean {
  if (row.target === undefined) return true;
  return row.better === "lower" ? row.value <= row.target : row.value >= row.target;
}

/** Rows as an aligned table: numbers to three digits, `MISSED` where the target was not reached. */
export function renderRows(rows: readonly BenchRow[]): string {
  const header = ["bench", "case", "median", "min", "max", "runs", "unit", "target", "other"];
  const cells = rows.map((row) => [
    row.bench,
    row.case,
    short(row.value),
    short(row.min),
    short(row.max),
    String(row.count),
    row.unit,
    row.target === undefined ? "" : `${short(row.target)}${reachesTarget(row) ? "" : " MISSED"}`,
    row.other ? `${short(row.other.value)} ${row.other.name}` : "",
  ]);
  const table = [header, ...cells];
  const widths = header.map((_, column) => Math.max(...table.map((line) => line[column]!.length)));
  return table
    .map((line) =>
      line
        .map((cell, i) => cell.padEnd(widths[i]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

function short(value: number): string {
  return Math.abs(value) >= 1000 ? String(Math.round(value)) : String(Number(value.toPrecision(3)));
}
