import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { foreignRoot } from "@starling/ca/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** The root of trust is replaced while a service runs: with all nodes there, with one that is off, and by one that is given. */
describe("a root rotation", () => {
  let stage: Stage;
  let nodes: readonly Host[];
  let w2: Host;

  beforeAll(async () => {
    stage = await Stage.open("root", ["m1", "m2", "m3", "w1", "w2", "late"]);
    nodes = stage.swarm.members();
    w2 = stage.host("w2");
    await stage.create("web", ["--replicas", "5", "-p", "8080:80"], stage.image("web1"));
    await stage.running("web", 5);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const file = (host: Host, name: string) => readFileSync(join(host.stateFolder, "certificates", name), "utf8");
  const token = async () => (await stage.ctl(["cluster", "join-token", "worker", "-q"])).trim();
  const count = (host: Host, words: string) => stage.log(host.name).split(words).length - 1;
  /** What a lost connection would leave behind: sessions and leaderships that began, tasks that were replaced. */
  const unrest = async () => ({
    sessions: nodes.map((host) => count(host, "session with managers")),
    leads: nodes.map((host) => count(host, "leading: loops are running")),
    tasks: (await stage.tasks("web")).map(({ id }) => id).sort(),
  });
  const rotationEnded = () =>
    until(
      "the rotation has ended",
      async () => !(await stage.ctl(["cluster", "inspect", "--pretty"])).includes("Root rotation"),
      {
        timeoutMs: 20_000,
      },
    );

  it("changes every node's certificate, trust and the join tokens, and disturbs nothing", async () => {
    const before = {
      unrest: await unrest(),
      token: await token(),
      certificates: nodes.map((host) => file(host, "swarm-node.crt")),
    };
    const old = await stage.ctl(["cluster", "ca"]);
    const told = await stage.ctl(["cluster", "ca", "--rotate", "--wait-timeout", "20s"]);
    expect(told).toMatch(/rotated TLS certificates: 5 of 5 nodes\n/);
    const root = await stage.ctl(["cluster", "ca"]);
    expect(root).not.toBe(old);
    expect(told.endsWith(root)).toBe(true);
    expect(nodes.map((host) => file(host, "swarm-root-ca.crt"))).toEqual(nodes.map(() => root));
    for (const [at, host] of nodes.entries()) expect(file(host, "swarm-node.crt")).not.toBe(before.certificates[at]);
    expect(await unrest()).toEqual(before.unrest);
    const after = await token();
    expect(after).not.toBe(before.token);
    const late = stage.host("late");
    await stage.swarm.startNode(late, stage.host("m1"), after);
    await stage.swarm.ready([late]);
    expect(file(late, "swarm-root-ca.crt")).toBe(root);
    await stage.swarm.endNode(late, "TERM");
    await stage.ctl(["node", "rm", "--force", "late"]);
  });

  it("waits for a node that is off, names it, and ends when that is back", async () => {
    const given = await foreignRoot("company", { rsa: true });
    const paths = {
      cert: join(stage.host("m1").stateFolder, "root.pem"),
      key: join(stage.host("m1").stateFolder, "root.key"),
    };
    writeFileSync(paths.cert, given.certPem);
    writeFileSync(paths.key, given.keyPem);
    await stage.swarm.endNode(w2);
    const inHost = (name: string) => join("/var/lib/swarmd", name);
    const { code, stderr } = await stage.swarm.ctl(
      [
        "cluster",
        "ca",
        "--rotate",
        "--ca-cert",
        inHost("root.pem"),
        "--ca-key",
        inHost("root.key"),
        "--wait-timeout",
        "3s",
      ],
      { on: stage.host("m1") },
    );
    expect({ code, stderr }).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(
        /4 of 5 nodes have a certificate of the new root, waiting for w2( \(\w+\))?: start or remove/,
      ),
    });
    expect(await stage.ctl(["cluster", "inspect", "--pretty"])).toMatch(/Root rotation: +4 of 5 nodes/);
    await stage.swarm.startNode(w2);
    await rotationEnded();
    expect(await stage.ctl(["cluster", "ca"])).toBe(given.certPem);
    await until("w2 trusts the new root alone", () => file(w2, "swarm-root-ca.crt") === given.certPem);
    await stage.running("web", 5);
  });
});
