import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import type { TestHosts } from "../../../node-agent/src/network/test-hosts.ts";
import { measurePairs } from "../mesh/pairs.ts";
import { type BenchRow, rowOf } from "../types.ts";
import { addressOf, endpoint, mustRun, task, withHosts } from "./stage.ts";

/** What our VXLAN carries beside one made by hand in the same run. */
export function measureThroughput(pairs: number): Promise<readonly BenchRow[]> {
  const endpoints = [1, 2].map((n) => endpoint(n, { service: "web", node: n }));
  return withHosts(endpoints, async (hosts, nodes) => {
    for (const n of [1, 2]) {
      hosts.add(`c${n}`);
      await nodes[n - 1]!.attach(task(n), { path: hosts.path(`c${n}`), pid: 0 });
    }
    for (const n of [1, 2]) makeByHand(hosts, n);
    const servers = await Promise.all(["c2", "d2"].map((name) => iperfServer(hosts, name)));
    try {
      const ours: number[] = [];
      const { ratios, other } = await measurePairs(
        pairs,
        async () => {
          const rate = throughput(hosts, "c1", addressOf(2));
          ours.push(rate);
          return rate;
        },
        async () => throughput(hosts, "d1", "10.9.0.2"),
      );
      const name = { bench: "network", better: "higher", unit: "ratio" } as const;
      const byHand = rowOf({ ...name, case: "by hand" }, other);
      const rate = rowOf({ ...name, unit: "Gbit/s", case: "VXLAN between two hosts" }, ours);
      return [
        { ...rate, other: { name: "by hand", value: byHand.value } },
        rowOf({ ...name, case: "VXLAN: ours to one made by hand", target: 0.95 }, ratios),
      ];
    } finally {
      for (const server of servers) server.kill("SIGKILL");
    }
  });
}

/**
 * The same of `ip` and `bridge` alone, on hosts that have no rules: a bridge with a VXLAN device on each (h3, h4), and a container behind
 * it (d1, d2).
 */
function makeByHand(hosts: TestHosts, n: number): void {
  const other = 3 - n;
  const container = hosts.add(`d${n}`);
  hosts.run(
    `h${n + 2}`,
    `set -e
    ip link add hb type bridge; ip link set hb up mtu 1450
    ip link add hx mtu 1450 type vxlan id 77 dstport 4789 local 192.168.77.${n + 2} dev eth0 nolearning
    ip link set hx master hb up
    ip link add hv mtu 1450 type veth peer name eth0 mtu 1450 address 02:09:00:00:00:0${n} netns ${container}
    ip link set hv master hb up
    bridge fdb add 02:09:00:00:00:0${other} dev hx dst 192.168.77.${other + 2} self permanent`,
  );
  hosts.run(
    `d${n}`,
    `set -e
    ip addr add 10.9.0.${n}/24 dev eth0; ip link set eth0 up
    ip neigh add 10.9.0.${other} lladdr 02:09:00:00:00:0${other} dev eth0 nud permanent`,
  );
}

async function iperfServer(hosts: TestHosts, namespace: string): Promise<ChildProcess> {
  const server = spawn("nsenter", [`--net=${hosts.path(namespace)}`, "iperf3", "-s", "--forceflush"], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  await once(server.stdout!, "data");
  return server;
}

/** Gbit/s of one TCP connection for two seconds. */
function throughput(hosts: TestHosts, from: string, to: string): number {
  const report = mustRun(hosts, from, ["iperf3", "-c", to, "-t", "2", "-O", "0.3", "-J"]);
  const { end } = JSON.parse(report) as { end: { sum_received: { bits_per_second: number } } };
  return end.sum_received.bits_per_second / 1e9;
}
