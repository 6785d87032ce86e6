import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it, onTestFailed } from "vitest";
import { type Host, Swarm, TestCluster, until } from "../cluster/index.ts";

/** Managers whose keys are locked with the cluster's unlock key: how operators switch it on, restart, rotate, switch it off. */
describe("autolock", () => {
  let cluster: TestCluster;
  let swarm: Swarm;
  let hosts: readonly Host[];

  beforeAll(async () => {
    cluster = await TestCluster.create({ name: `e2e-autolock-${process.pid}`, hosts: ["m1", "m2", "m3"] });
    swarm = new Swarm(cluster);
    await swarm.start();
    hosts = swarm.members();
  });
  afterAll(() => cluster?.destroy());

  const file = (host: Host, name: string) => readFileSync(join(host.stateFolder, "certificates", name), "utf8");
  const isLocked = (host: Host) => file(host, "swarm-node.key").includes("BEGIN ENCRYPTED PRIVATE KEY");
  const rotates = (host: Host) => /raft-dek-(pending|needs-rotation)/.test(file(host, "swarm-node.key"));
  const certificates = () => hosts.map((host) => file(host, "swarm-node.crt"));

  /** Files of a host's state folder that hold `text`. */
  function filesWith(host: Host, text: string): string[] {
    const entries = readdirSync(host.stateFolder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
    return files.filter((path) => readFileSync(path).includes(text));
  }

  const locked = (wanted: boolean) =>
    until(`every manager is ${wanted ? "locked" : "unlocked"}, with a data key of its own time`, () =>
      hosts.every((host) => isLocked(host) === wanted && !rotates(host)),
    );

  function showLogsOnFailure(): void {
    onTestFailed(() => {
      for (const host of hosts)
        console.log(`--- ${host.name}\n${readFileSync(host.logFile("swarmd"), "utf8").slice(-4000)}`);
    });
  }

  it("locks every manager, renews what lay in the clear, and keeps secrets off the disks", async () => {
    showLogsOnFailure();
    const secret = "correct horse battery staple";
    await swarm.mustCtl(["secret", "create", "hush", "-"], { input: secret });
    const before = certificates();
    const told = await swarm.mustCtl(["cluster", "update", "--autolock=true"]);
    const key = (await swarm.mustCtl(["cluster", "unlock-key", "-q"])).trim();
    expect(key).toMatch(/^SWMKEY-1-[A-Za-z0-9+/]{43}$/);
    expect(told).toContain(key);
    await locked(true);
    await until("every manager has a new TLS key", () => certificates().every((pem, i) => pem !== before[i]));
    for (const host of hosts) {
      expect(filesWith(host, secret)).toEqual([]);
      expect(filesWith(host, key.slice("SWMKEY-1-".length))).toEqual([]);
    }
  });

  it("keeps a manager that restarts waiting for its key, and the others going", async () => {
    showLogsOnFailure();
    const m3 = cluster.host("m3");
    await swarm.endNode(m3);
    await swarm.startNode(m3);
    const refused = /Swarm is encrypted and needs to be unlocked before it can be used. Run `swarmctl unlock`/;
    await until("it says what it waits for", async () =>
      refused.test((await swarm.ctl(["node", "ls"], { on: m3 })).stderr),
    );
    await swarm.mustCtl(["config", "create", "meanwhile", "-"], { input: "x" });
    const wrong = await swarm.ctl(["unlock"], { on: m3, input: `SWMKEY-1-${"A".repeat(43)}\n` });
    expect(wrong).toMatchObject({
      code: 1,
      stderr: expect.stringContaining("Error: invalid unlock key: it is not the key"),
    });
    const key = await swarm.mustCtl(["cluster", "unlock-key", "-q"]);
    expect(await swarm.ctl(["unlock"], { on: m3, input: key })).toMatchObject({ code: 0, stdout: "", stderr: "" });
    await swarm.ready(hosts);
    expect(await swarm.mustCtl(["config", "ls", "-q"], { on: m3 })).not.toBe("");
    expect((await swarm.ctl(["unlock"], { on: m3, input: key })).stderr).toContain("swarm is not locked");
  });

  it("follows a rotated key, and a whole swarm comes back with it", async () => {
    showLogsOnFailure();
    const before = hosts.map((host) => file(host, "swarm-node.key"));
    const told = await swarm.mustCtl(["cluster", "unlock-key", "--rotate"]);
    const key = (await swarm.mustCtl(["cluster", "unlock-key", "-q"])).trim();
    expect(told).toContain(key);
    await until("every manager follows", () => hosts.every((host, i) => file(host, "swarm-node.key") !== before[i]));
    await locked(true);
    for (const host of hosts) await swarm.endNode(host, "TERM");
    for (const host of hosts) await swarm.startNode(host);
    for (const host of hosts) {
      await until(`${host.name} takes the key`, async () => {
        return (await swarm.ctl(["unlock"], { on: host, input: key })).code === 0;
      });
    }
    await swarm.ready(hosts);
    expect(await swarm.mustCtl(["secret", "ls"])).toContain("hush");
  });

  it("switched off, lets managers start by themselves", async () => {
    showLogsOnFailure();
    await swarm.mustCtl(["cluster", "update", "--autolock=false"]);
    await locked(false);
    expect(await swarm.mustCtl(["cluster", "unlock-key"])).toContain("autolock is off");
    expect((await swarm.ctl(["cluster", "unlock-key", "--rotate"])).stderr).toContain(
      "there is no unlock key to rotate",
    );
    const m1 = cluster.host("m1");
    await swarm.endNode(m1);
    await swarm.startNode(m1);
    await swarm.ready(hosts);
  });
});
