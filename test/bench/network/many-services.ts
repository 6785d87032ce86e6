/** Prints what a node of many services takes, as JSON (`ScaleFigures`). Runs with `--expose-gc`. */
import { attachTimes } from "./attaching.ts";
import type { ScaleFigures } from "./scale.ts";
import { complete, endpoint, incremental, service, task, withHosts } from "./stage.ts";

const services = 1_000;
const tasksEach = 5;
const changes = 20;
const attaches = 10;

const nameOf = (n: number) => `service-${n}`;
/** Beyond the tasks here. */
const firstTask = (n: number) => 1_000 + n * tasksEach;

function items() {
  return Array.from({ length: services }, (_, n) => [
    service(nameOf(n), 10 + n),
    ...Array.from({ length: tasksEach }, (_, i) => endpoint(firstTask(n) + i, { service: nameOf(n), node: 2 })),
  ]).flat();
}

/** Of the process, without what it would give back in a quiet moment. */
function residentMiB(): number {
  globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" });
  return process.memoryUsage.rss() / 2 ** 20;
}

const figures = await withHosts<ScaleFigures>([], async (hosts, [node]) => {
  hosts.add("c1");
  await node!.attach(task(1), { path: hosts.path("c1"), pid: 0 });
  const before = residentMiB();
  await node!.receive(complete(items()));
  const memoryMiB = residentMiB() - before;
  const changesMs: number[] = [];
  for (let i = 0; i < changes; i++) {
    const one = endpoint(firstTask(i * 7), { service: nameOf(i * 7), node: 2, serving: false });
    const start = performance.now();
    await node!.receive(incremental(i + 2, [one]));
    changesMs.push(performance.now() - start);
  }
  return { memoryMiB, changesMs, attachesMs: await attachTimes(hosts, node!, attaches) };
});
console.log(JSON.stringify(figures));
