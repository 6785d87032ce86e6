import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expiredTwin, foreignRoot } from "@starling/ca/testing";
import { afterAll, beforeAll, describe, expect, it, onTestFailed } from "vitest";
import { type Host, Swarm, TestCluster, until } from "../cluster/index.ts";

/** All hosts of a swarm were off for so long that their certificates ran out. */
describe("certificates that ran out", () => {
  let cluster: TestCluster;
  let swarm: Swarm;
  let m1: Host;
  let w1: Host;

  beforeAll(async () => {
    cluster = await TestCluster.create({ name: `e2e-expired-${process.pid}`, hosts: ["m1", "w1"] });
    swarm = new Swarm(cluster);
    await swarm.start();
    m1 = cluster.host("m1");
    w1 = cluster.host("w1");
  });
  afterAll(() => cluster?.destroy());

  const log = (host: Host) => readFileSync(host.logFile("swarmd"), "utf8");
  const chain = (host: Host) => join(host.stateFolder, "certificates/swarm-node.crt");

  it("are renewed: the manager's by itself when it leads, the worker's by the manager", async () => {
    onTestFailed(() => {
      for (const host of [m1, w1]) console.log(`--- ${host.name}\n${log(host).slice(-4000)}`);
    });
    // Of a root whose key is known here, so that certificates can be made that have run out.
    const root = await foreignRoot("company");
    writeFileSync(join(m1.stateFolder, "root.pem"), root.certPem);
    writeFileSync(join(m1.stateFolder, "root.key"), root.keyPem);
    const files = ["--ca-cert", "/var/lib/swarmd/root.pem", "--ca-key", "/var/lib/swarmd/root.key"];
    await swarm.mustCtl(["cluster", "ca", "--rotate", "--quiet", ...files], { on: m1 });
    const before = await swarm.nodes();
    for (const host of [w1, m1]) {
      await swarm.endNode(host, "TERM");
      writeFileSync(chain(host), await expiredTwin(readFileSync(chain(host), "utf8"), root));
    }
    await swarm.startNode(m1);
    await until("the manager has renewed its certificate", () => log(m1).includes('certificate renewed" node.id'), {
      timeoutMs: 20_000,
    });
    await swarm.startNode(w1);
    await swarm.ready([m1, w1]);
    expect(log(w1)).toContain("expired certificate renewed");
    expect((await swarm.nodes()).map(({ id }) => id).sort()).toEqual(before.map(({ id }) => id).sort());
  });
});
