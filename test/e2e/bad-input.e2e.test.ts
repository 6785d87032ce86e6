import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, repositoryRoot, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

const node = join(repositoryRoot, "node_modules/.bin/node");
const strangerProgram = join(import.meta.dirname, "stranger.ts");

/** Whatever is asked wrongly is refused or explained in one clear line, and the cluster goes on. */
describe("bad input", () => {
  let stage: Stage;
  let m1: Host;

  beforeAll(async () => {
    stage = await Stage.open("input", ["m1", "w1", "other"]);
    m1 = stage.host("m1");
    await stage.create("web", ["-p", "8080:80"], stage.image("web1"));
    await stage.running("web", 1);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  const image = () => stage.image("web1");

  it("an image that its registry does not know: the task says so, and an update mends it", async () => {
    const unknown = `${stage.image("web1").split("/")[0]}/nothing:7`;
    await stage.create("lost", [], unknown);
    const task = await stage.task("lost", "is rejected", (row) => row.currentState === "REJECTED");
    expect(task.error).toBe(`No such image: ${unknown}`);
    await stage.ctl(["service", "update", "--detach", "--image", image(), "lost"]);
    await stage.running("lost", 1);
    await stage.ctl(["service", "rm", "lost"]);
  });

  it("swarmctl stops waiting for a service that can't start, and says why", async () => {
    const unknown = `${stage.image("web1").split("/")[0]}/nothing:7`;
    const args = ["service", "create", "--name", "never", "--restart-condition", "none", unknown];
    const { code, stderr } = await stage.swarm.ctl(args);
    expect(code).toBe(1);
    expect(stderr.trim().split("\n").at(-1)).toMatch(/service never does not converge: .*nothing:7/);
    await stage.ctl(["service", "rm", "never"]);
  });

  it.each([
    ["Web:1", /"Web:1" is not a valid repository\/tag: the repository name must be lowercase/],
    ["web:", /"web:" is not a valid repository\/tag: the tag must be/],
    ["web@sha256:12", /"web@sha256:12" is not a valid repository\/tag: the digest must look like/],
  ])("a bad image reference: %s", async (reference, message) => {
    expect(await stage.refusal(["service", "create", "--name", "bad", reference])).toMatch(message);
  });

  it("a constraint that no node meets: the task waits and says so; a label lets it run", async () => {
    await stage.create("picky", ["--constraint", "node.labels.disk==ssd"], image());
    const task = await stage.task("picky", "explains itself", (row) => row.error !== "");
    expect(task).toMatchObject({
      currentState: "PENDING",
      error: "no suitable node (scheduling constraints not satisfied on 2 nodes)",
    });
    await stage.ctl(["node", "update", "--label-add", "disk=ssd", "w1"]);
    expect((await stage.running("picky", 1))[0]).toMatchObject({ node: "w1", error: "" });
    await stage.ctl(["service", "rm", "picky"]);
  });

  it("a constraint that is none", async () => {
    expect(
      await stage.refusal(["service", "create", "--name", "bad", "--constraint", "disk is ssd", image()]),
    ).toContain("disk is ssd");
  });

  it("more memory than any node has", async () => {
    await stage.create("huge", ["--reserve-memory", "4t"], image());
    const task = await stage.task("huge", "explains itself", (row) => row.error !== "");
    expect(task.error).toBe("no suitable node (insufficient resources on 2 nodes)");
    await stage.ctl(["service", "rm", "huge"]);
  });

  it("a published port that another service has", async () => {
    expect(await stage.refusal(["service", "create", "--name", "rival", "-p", "8080:80", image()])).toMatch(
      /port '8080' is already in use by service 'web'/,
    );
  });

  it("a published port that the swarm itself needs", async () => {
    const publish = (port: string) => stage.refusal(["service", "create", "--name", "rival", "-p", port, image()]);
    expect(await publish("4242:80")).toMatch(/port '4242' is already in use by the managers' own API/);
    expect(await publish("4789:80/udp")).toMatch(/port '4789' is already in use by the overlay networks/);
  });

  it("a host port that another task has on every node: the second task waits and says so", async () => {
    await stage.create("hosted", ["--mode", "global", "-p", "9999:80,mode=host"], image());
    await stage.running("hosted", 2);
    await stage.create("crowded", ["-p", "9999:80,mode=host"], image());
    const task = await stage.task("crowded", "explains itself", (row) => row.error !== "");
    expect(task.error).toBe("no suitable node (host-mode port already in use on 2 nodes)");
    await stage.ctl(["service", "rm", "hosted"]);
    await stage.running("crowded", 1);
    await stage.ctl(["service", "rm", "crowded"]);
  });

  it("a host port that a program of the host has: the task is rejected and says so; the program goes on", async () => {
    await stage.create("usurper", ["--mode", "global", "-p", "9090:80,mode=host"], image());
    const task = await stage.task("usurper", "is rejected", (row) => row.currentState === "REJECTED");
    expect(task.error).toBe("host port 9090/tcp is already in use by a program on this node");
    expect(await m1.mustExec(["curl", "-sf", "http://w1:9090/metrics"])).toContain("starling_node_tasks");
    await stage.ctl(["service", "rm", "usurper"]);
  });

  it("a second service, network, secret and config of a name", async () => {
    expect(await stage.refusal(["service", "create", "--name", "web", image()])).toMatch(
      /web.*already exists|name conflicts/,
    );
    await stage.ctl(["network", "create", "net"]);
    expect(await stage.refusal(["network", "create", "net"])).toMatch(/net.*already exists|name conflicts/);
    for (const noun of ["secret", "config"]) {
      await stage.ctl([noun, "create", "one", "-"], { input: "1" });
      expect(await stage.refusal([noun, "create", "one", "-"], { input: "2" })).toMatch(
        /one.*already exists|name conflicts/,
      );
    }
  });

  it("names that nothing has", async () => {
    expect(await stage.refusal(["service", "ps", "nobody"])).toContain('"nobody"');
    expect(await stage.refusal(["node", "inspect", "nowhere"])).toContain('"nowhere"');
    expect(await stage.refusal(["service", "create", "--network", "nonet", image()])).toContain('"nonet"');
    expect(await stage.refusal(["service", "create", "--secret", "nosecret", image()])).toContain('"nosecret"');
  });

  it("flags that mean nothing are told from refusals by their exit status", async () => {
    const { code, stderr } = await stage.swarm.ctl(["service", "create", "--replicas", "many", image()]);
    expect([code, stderr.trim().split("\n").length]).toEqual([2, 1]);
    expect(stderr).toContain('"many" is not a whole number');
  });

  describe("a host that may not join", () => {
    /** Starts swarmd on host `other` with a token and returns its last words. */
    async function refusedJoin(token: string): Promise<string> {
      const other = stage.host("other");
      const before = stage.log("other").length;
      const pid = await stage.swarm.startNode(other, m1, token);
      await until("swarmd has ended", async () => (await other.exec(["test", "-e", `/proc/${pid}`])).code !== 0);
      return stage.log("other").slice(before).trim().split("\n").at(-1)!;
    }

    it("has a token that is none", async () => {
      expect(await refusedJoin("SWMTKN-1-nonsense")).toMatch(/^swarmd: .*token/);
    });

    it("has a token of this cluster with a wrong secret", async () => {
      const right = await stage.swarm.joinToken("worker", m1);
      const wrong = right.slice(0, -25) + "0".repeat(25);
      expect(await refusedJoin(wrong)).toMatch(/^swarmd: .*token/);
    });

    it("has a token of another cluster", async () => {
      const right = await stage.swarm.joinToken("worker", m1);
      const [head, version, digest, secret] = right.split("-");
      const foreign = [head, version, digest!.split("").reverse().join("").replace(/^[^0]/, "0"), secret].join("-");
      expect(await refusedJoin(foreign)).toMatch(/^swarmd: remote CA does not match fingerprint/);
    });

    it("has a token from before a rotation", async () => {
      const old = await stage.swarm.joinToken("worker", m1);
      await stage.ctl(["cluster", "join-token", "worker", "--rotate"]);
      expect(await refusedJoin(old)).toMatch(/^swarmd: .*token/);
    });
  });

  describe("a manager's certificate of another root", () => {
    /** What a manager of a swarm of its own gets for an answer from m1; see stranger.ts. */
    async function answers(): Promise<Record<string, string>> {
      const other = stage.host("other");
      if (!stage.log("other").includes("swarm-manager")) {
        await stage.swarm.startNode(other);
        await stage.swarm.ready([other], { on: other });
      }
      const output = await other.mustExec([node, strangerProgram, "/var/lib/swarmd", `${m1.address}:4242`]);
      return JSON.parse(output) as Record<string, string>;
    }

    it("opens nothing: not with its own name, not with the cluster's", async () => {
      const words = await answers();
      expect(words["trusting its own root"]).toMatch(/^Unavailable: /);
      for (const rpc of ["listNodes", "listServices", "session", "join", "raft"]) {
        expect(words[rpc], rpc).toMatch(/^(PermissionDenied|Unauthenticated): /);
      }
    });

    it("as a node of its own swarm it goes on", async () => {
      expect(await stage.swarm.nodes({ on: stage.host("other") })).toHaveLength(1);
    });
  });

  it("after all this the cluster is as before", async () => {
    expect((await stage.swarm.nodes()).map(({ hostname, status }) => `${hostname} ${status}`)).toEqual([
      "m1 READY",
      "w1 READY",
    ]);
    await stage.running("web", 1);
    const services = await stage.json<readonly { name: string }[]>(["service", "ls"]);
    expect(services.map(({ name }) => name)).toEqual(["web"]);
  });
});
