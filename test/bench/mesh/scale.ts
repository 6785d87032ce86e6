import { execFile } from "node:child_process";
import { join } from "node:path";
import { promisify } from "node:util";
import { type BenchRow, rowOf } from "../types.ts";

/** What many-nodes.ts prints. */
export interface MeshFigures {
  /** Of the process, for 1,000 published ports and the nodes. */
  readonly memoryMiB: number;
  /** Chains, sets and rules of nftables, and routing rules. */
  readonly rules: number;
  readonly changesMs: readonly number[];
}

const few = 10;
const many = 1_000;

/** One node that knows 1,000 published ports in a mesh of 10 nodes and of 1,000, in processes of their own, in turns. */
export async function measureMeshSize(runs: number): Promise<readonly BenchRow[]> {
  const figures = new Map<number, MeshFigures[]>([few, many].map((nodes) => [nodes, []]));
  for (let run = 0; run < runs; run++) {
    for (const [nodes, found] of figures) {
      const script = join(import.meta.dirname, "many-nodes.ts");
      const args = ["--expose-gc", script, String(nodes)];
      const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 120_000 });
      found.push(JSON.parse(stdout) as MeshFigures);
    }
  }
  const grows = (what: string, value: (of: MeshFigures) => readonly number[], target: number): BenchRow => {
    const [small, large] = [few, many].map((nodes) => {
      const name = { bench: "mesh", case: what, better: "lower", unit: what } as const;
      return rowOf(name, figures.get(nodes)!.flatMap(value)).value;
    }) as [number, number];
    const name = { bench: "mesh", better: "lower", unit: `of ${few} nodes`, target } as const;
    const other = {
      name: `${what} with ${few}, ${large >= 1_000 ? Math.round(large) : Number(large.toPrecision(3))} with ${many}`,
      value: small,
    };
    return rowOf({ ...name, case: `a node of ${many} nodes and 1,000 ports: ${what}`, other }, [large / small]);
  };
  return [
    grows("rules", ({ rules }) => [rules], 1),
    grows("MiB more", ({ memoryMiB }) => [memoryMiB], 1.25),
    grows("ms a change", ({ changesMs }) => changesMs, 1.25),
  ];
}
