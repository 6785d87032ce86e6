import { performance } from "node:perf_hooks";
import { styleText } from "node:util";

interface Row {
  readonly step: string;
  readonly seconds: number;
  readonly outcome: "ok" | "failed";
  readonly note: string;
}

/** Runs named steps one after the other, tells how each went, and ends with a table. The first failure ends the run. */
export class Report {
  readonly #rows: Row[] = [];

  get failed(): boolean {
    return this.#rows.some((row) => row.outcome === "failed");
  }

  /** Runs `work`; what it returns is shown beside the step. Rethrows its failure. */
  async step(name: string, work: () => Promise<string | undefined>): Promise<void> {
    console.log(styleText("bold", `\n==> ${name}`));
    const started = performance.now();
    const seconds = () => (performance.now() - started) / 1_000;
    try {
      const note = (await work()) ?? "";
      this.#rows.push({ step: name, seconds: seconds(), outcome: "ok", note });
      if (note !== "") console.log(note);
    } catch (thrown) {
      const note = thrown instanceof Error ? thrown.message : String(thrown);
      this.#rows.push({ step: name, seconds: seconds(), outcome: "failed", note: note.split("\n")[0] ?? "" });
      throw thrown;
    }
  }

  print(): void {
    const width = Math.max(...this.#rows.map((row) => row.step.length));
    console.log(`\n${"step".padEnd(width)}  seconds  outcome`);
    for (const row of this.#rows) {
      const seconds = row.seconds.toFixed(2).padStart(7);
      console.log(`${row.step.padEnd(width)}  ${seconds}  ${row.outcome}${row.note ? `  ${row.note}` : ""}`);
    }
  }
}
