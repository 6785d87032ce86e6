/** `node node-agent/src/survive/load-main.ts [--at-once 200] [--in-a-row 1000]`, as root: what many containers leave behind. */
import { parseArgs } from "node:util";
import { type Counts, LoadStage } from "./load.ts";

const { values } = parseArgs({
  options: { "at-once": { type: "string", default: "200" }, "in-a-row": { type: "string", default: "1000" } },
});
const MiB = 2 ** 20;
const show = (name: string, { openFiles, heapBytes, residentBytes, left }: Counts) =>
  console.log(
    `${name}: ${openFiles} open files, heap ${(heapBytes / MiB).toFixed(1)} MiB, resident ${(residentBytes / MiB).toFixed(1)} MiB, ` +
      `${left.length} left over${left.map((line) => `\n  ${line}`).join("")}`,
  );

const stage = await LoadStage.open();
try {
  show("at first", await stage.counts());
  const { runningMs, removedMs } = await stage.atOnce(Number(values["at-once"]));
  show(
    `${values["at-once"]} at once, running in ${runningMs.toFixed(0)} ms, removed in ${removedMs.toFixed(0)} ms`,
    await stage.counts(),
  );
  const count = Number(values["in-a-row"]);
  for (let done = 0; done < count; done += count / 4) {
    const ms = await stage.inARow(Math.min(count / 4, count - done));
    show(
      `${Math.min(done + count / 4, count)} in a row, the last quarter in ${ms.toFixed(0)} ms`,
      await stage.counts(),
    );
  }
} finally {
  await stage.close();
}
