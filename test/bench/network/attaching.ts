import type { NodeNetwork } from "@starling/node-agent";
import type { TestHosts } from "../../../node-agent/src/network/test-hosts.ts";
import { type BenchRow, rowOf } from "../types.ts";
import { endpoint, task, withHosts } from "./stage.ts";

const attaches = 50;

/** What attaching a container to a network takes on a host that has other tasks on it. To be run before what leaves a process large. */
export function measureAttaching(): Promise<readonly BenchRow[]> {
  const endpoints = [1, 2].map((n) => endpoint(n, { service: "web", node: n }));
  return withHosts(endpoints, async (hosts, [node]) => {
    hosts.add("c1");
    await node!.attach(task(1), { path: hosts.path("c1"), pid: 0 });
    const times = await attachTimes(hosts, node!, attaches);
    const name = { bench: "network", better: "lower", unit: "ms" } as const;
    return [rowOf({ ...name, case: "attaching a container to a network", target: 8 }, times)];
  });
}

/** Milliseconds of each of `count` tasks that are attached one after the other. */
export async function attachTimes(hosts: TestHosts, node: NodeNetwork, count: number): Promise<readonly number[]> {
  // All before: a process that has just forked pays for each page of memory that it writes.
  const paths = Array.from({ length: count }, (_, n) => {
    hosts.add(`a${n}`);
    return hosts.path(`a${n}`);
  });
  const times: number[] = [];
  for (const [n, path] of paths.entries()) {
    const start = performance.now();
    await node.attach(task(100 + n), { path, pid: 0 });
    times.push(performance.now() - start);
  }
  return times;
}
