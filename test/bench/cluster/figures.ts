/** Pure: no clock, no I/O, no randomness. */
import { type BenchRow, rowOf } from "../types.ts";

interface Case {
  readonly unit: "s" | "MiB" | "%";
  readonly target: number;
  /** Docker Swarm's figure on a machine of this kind; absent where it was not measured. */
  readonly docker?: number;
}

/** In the order in which they are shown. Targets and Docker's figures are of 2026-11-21. */
const cases = {
  // As Docker's: from a daemon that runs (here: swarmd's first words) to ready.
  init: { unit: "s", target: 0.3, docker: 0.67 },
  "worker joins": { unit: "s", target: 0.15, docker: 0.15 },
  "manager joins": { unit: "s", target: 0.3, docker: 0.67 },
  // The start of swarmd's process included.
  "init, with swarmd's start": { unit: "s", target: 0.3 },
  "worker joins, with swarmd's start": { unit: "s", target: 0.15 },
  "manager joins, with swarmd's start": { unit: "s", target: 0.3 },
  "service create, the call": { unit: "s", target: 0.05, docker: 0.05 },
  "service create, the whole command": { unit: "s", target: 0.15, docker: 0.05 },
  "service ls, the whole command": { unit: "s", target: 0.15 },
  "create → 1 running": { unit: "s", target: 0.15, docker: 0.61 },
  "create → 10 running": { unit: "s", target: 0.4, docker: 2.06 },
  "create → 50 running": { unit: "s", target: 1.5, docker: 8.14 },
  "scale 10 → 50 running": { unit: "s", target: 1.5, docker: 7.3 },
  "50 → 10, containers gone": { unit: "s", target: 1, docker: 3.6 },
  "rolling update of 10, one by one": { unit: "s", target: 4, docker: 20.3 },
  "worker's host killed: shown down": { unit: "s", target: 3, docker: 14 },
  "worker's host killed: its tasks running elsewhere": { unit: "s", target: 4, docker: 20 },
  "leader killed: next write accepted": { unit: "s", target: 1.5, docker: 25.6 },
  "leader's host killed: next write accepted": { unit: "s", target: 1.5 },
  "leader's host killed: its tasks running elsewhere": { unit: "s", target: 6, docker: 60.6 },
  "idle memory, manager": { unit: "MiB", target: 120, docker: 222 },
  "idle memory, worker": { unit: "MiB", target: 80, docker: 131 },
  "memory with 30 tasks, manager": { unit: "MiB", target: 130, docker: 282 },
  "memory with 30 tasks, worker": { unit: "MiB", target: 90, docker: 142 },
  "memory of a shim": { unit: "MiB", target: 1.5, docker: 10 },
  "idle CPU, manager": { unit: "%", target: 1, docker: 0.6 },
  "idle CPU, worker": { unit: "%", target: 0.5, docker: 0.4 },
} as const satisfies Readonly<Record<string, Case>>;

export type CaseName = keyof typeof cases;

/** What was measured, by case. */
export class Figures {
  readonly #values = new Map<CaseName, number[]>();

  /** `value` in the case's unit. */
  add(name: CaseName, value: number): void {
    this.#values.set(name, [...(this.#values.get(name) ?? []), value]);
  }

  addMs(name: CaseName, milliseconds: number): void {
    this.add(name, milliseconds / 1000);
  }

  /** A row for every case that was measured. */
  rows(): readonly BenchRow[] {
    return (Object.keys(cases) as CaseName[]).flatMap((name) => {
      const values = this.#values.get(name);
      if (values === undefined) return [];
      const { unit, target, docker }: Case = cases[name];
      const other = docker === undefined ? {} : { other: { name: "Docker Swarm 20.10 (anchors)", value: docker } };
      return [rowOf({ bench: "cluster", case: name, unit, better: "lower", target, ...other }, values)];
    });
  }
}
