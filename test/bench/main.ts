import { readdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { SwarmError } from "@starling/base";
import { type Bench, type BenchRow, reachesTarget, renderRows } from "./types.ts";

const ownFiles = new Set(["main.ts", "thread-times.ts", "types.ts"]);

function benchNames(): readonly string[] {
  return readdirSync(import.meta.dirname)
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts") && !ownFiles.has(file))
    .map((file) => file.slice(0, -".ts".length));
}

/**
 * `npm run bench -- NAME… [--json FILE] [--quick] [--strict]`: runs the benches one after the other, prints a table, writes the
 * rows. With `--strict` the exit status is 1 when a target was missed.
 */
async function main(argv: readonly string[]): Promise<void> {
  const names = benchNames();
  const { values, positionals } = parseArgs({
    args: [...argv],
    options: {
      json: { type: "string" },
      quick: { type: "boolean", default: false },
      strict: { type: "boolean", default: false },
    },
    allowPositionals: true,
  });
  const unknown = positionals.filter((name) => !names.includes(name));
  if (positionals.length === 0 || unknown.length > 0) {
    const what = unknown.length > 0 ? `no bench "${unknown.join('", "')}"; ` : "";
    throw new SwarmError(
      "InvalidArgument",
      `${what}usage: npm run bench -- NAME… [--json FILE] [--quick] [--strict], with NAME of: ${names.join(", ")}`,
    );
  }
  const rows: BenchRow[] = [];
  for (const name of positionals) {
    const bench = (await import(join(import.meta.dirname, `${name}.ts`))) as Bench;
    rows.push(...(await bench.run({ quick: values.quick })));
  }
  console.log(renderRows(rows));
  if (values.strict && !rows.every(reachesTarget)) process.exitCode = 1;
  if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(rows, undefined, 2)}\n`);
}

await main(process.argv.slice(2)).catch((error: unknown) => {
  console.error(SwarmError.from(error).message);
  process.exitCode = 1;
});
