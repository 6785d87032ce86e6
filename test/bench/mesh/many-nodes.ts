/** Prints what a node takes in a mesh of as many nodes as the argument says, as JSON (`MeshFigures`). Runs with `--expose-gc`. */
import {
  NetworkStateEndpoint,
  NetworkStateNetwork,
  NetworkStateNode,
  NetworkStatePort,
  NetworkStateService,
} from "@starling/api";
import { nullLogger, systemClock } from "@starling/base";
import { NodeNetwork } from "@starling/node-agent";
import { TestHosts } from "../../../node-agent/src/network/test-hosts.ts";
import { complete, incremental, mustRun, taskId, update } from "../network/stage.ts";
import type { MeshFigures } from "./scale.ts";

const ports = 1_000;
const changes = 20;
const nodes = Number(process.argv[2]);
const ingress = "ingressaaaaaaaaaaaaaaaaaa";

const node = (n: number) =>
  update({
    node: NetworkStateNode.create({
      id: `node${n}`,
      underlayAddress: n === 1 ? "192.168.77.1" : `10.1.${n >> 8}.${n & 255}`,
      meshAddress: `10.255.${n >> 8}.${n & 255}/16`,
    }),
  });

/** A service's one task: on any node but the one that is measured. */
const endpoint = (n: number, serving = true) =>
  update({
    endpoint: NetworkStateEndpoint.create({
      ...{ networkId: ingress, taskId: taskId(n), serviceId: `service-${n}`, nodeId: `node${2 + (n % (nodes - 1))}` },
      ...{ address: `10.255.${128 + (n >> 8)}.${n & 255}`, serving },
    }),
  });

const service = (n: number) =>
  update({
    service: NetworkStateService.create({
      ...{ id: `service-${n}`, name: `service-${n}` },
      ports: [NetworkStatePort.create({ publishedPort: 20_000 + n, targetPort: 80 })],
    }),
  });

const each = <T>(count: number, make: (n: number) => T): readonly T[] =>
  Array.from({ length: count }, (_, n) => make(n));

/** Of the process, without what it would give back in a quiet moment. */
function residentMiB(): number {
  globalThis.gc?.({ type: "major", execution: "sync", flavor: "last-resort" });
  return process.memoryUsage.rss() / 2 ** 20;
}

const hosts = new TestHosts(1);
const network = new NodeNetwork({
  ...{ nodeId: "node1", clock: systemClock, log: nullLogger, resolvConf: "", netns: hosts.path("h1") },
});
try {
  const subnets = ["10.255.0.0/16"];
  const mesh = NetworkStateNetwork.create({ id: ingress, name: "ingress", vni: 4096, subnets, ingress: true });
  const items = [update({ network: mesh }), ...each(nodes, (n) => node(n + 1))];
  const before = residentMiB();
  await network.receive(complete([...items, ...each(ports, service), ...each(ports, (n) => endpoint(n))]));
  const memoryMiB = residentMiB() - before;
  const changesMs: number[] = [];
  for (let i = 0; i < changes; i++) {
    const start = performance.now();
    await network.receive(incremental(i + 2, [endpoint(i * 7, false)]));
    changesMs.push(performance.now() - start);
  }
  const listing = mustRun(hosts, "h1", ["nft", "-a", "list", "ruleset"]);
  const rules = listing.match(/# handle \d+$/gm)?.length ?? 0;
  const routingRules = mustRun(hosts, "h1", ["sh", "-c", "ip rule; ip -6 rule"]).trim().split("\n").length;
  console.log(JSON.stringify({ memoryMiB, rules: rules + routingRules, changesMs } satisfies MeshFigures));
} finally {
  await network.close();
  hosts.destroy();
}
