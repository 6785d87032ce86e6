import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

const workers = ["w1", "w2", "w3", "w4"];

/** Images go from node to node. */
describe("an image that five hosts run", () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.open("shared", ["m1", ...workers]);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  /** Statuses of the registry's answers to requests for a repository's blobs, by digest. */
  function blobRequests(repository: string): ReadonlyMap<string, readonly string[]> {
    const found = new Map<string, string[]>();
    const line = new RegExp(`"GET /v2/${repository}/blobs/(sha256:[0-9a-f]{64}) HTTP/1.1" (\\d{3})`, "g");
    for (const [, digest, status] of readFileSync(stage.host("reg").logFile("registry"), "utf8").matchAll(line)) {
      found.set(digest!, [...(found.get(digest!) ?? []), status!]);
    }
    return found;
  }

  const ingest = (host: string) => join(stage.host(host).stateFolder, "images/ingest");

  it("is asked of its registry once, and runs by its digest", async () => {
    await stage.create("everywhere", ["--mode", "global"], stage.image("tools"));
    const tasks = await stage.running("everywhere", 5);
    for (const { image } of tasks) expect(image).toMatch(/\/tools:1@sha256:[0-9a-f]{64}$/);
    const requests = [...blobRequests("tools").values()];
    expect(requests.length).toBeGreaterThan(1);
    expect(requests.every((statuses) => statuses.join() === "200")).toBe(true);
    await stage.ctl(["service", "rm", "everywhere"]);
  });

  it("comes whole although the host that gives it dies on the way", async () => {
    await stage.create("web", ["--constraint", "node.hostname==w1"], stage.image("web1"));
    await stage.running("web", 1);
    await stage.host("w1").mustExec("tc qdisc add dev eth0 root tbf rate 4mbit burst 32kb latency 400ms");
    const flags = ["--constraint-rm", "node.hostname==w1", "--replicas-max-per-node", "1", "--replicas", "2"];
    await stage.ctl(["service", "update", "--detach", ...flags, "web"]);
    // Some of nginx's layer of 4 MB; the others are small, or there.
    const takes = (host: string) =>
      existsSync(ingest(host)) &&
      readdirSync(ingest(host)).some(
        (name) => (statSync(join(ingest(host), name), { throwIfNoEntry: false })?.size ?? 0) > 100_000,
      );
    await until("a node takes a layer from w1", () => ["m1", "w2", "w3", "w4"].some(takes), { periodMs: 5 });
    await stage.host("w1").kill();
    await stage.running("web", 2);
    // The layer that was on its way came from the registry again, or its rest; once, for both nodes that lacked it.
    expect(Math.max(...[...blobRequests("web").values()].map((statuses) => statuses.length))).toBe(2);
    await stage.ctl(["service", "rm", "web"]);
  });

  it("spreads from the one host that has it when its registry is gone", async () => {
    await stage.create("late", ["--constraint", "node.hostname==w2"], stage.image("web2"));
    await stage.running("late", 1);
    await stage.host("reg").kill();
    const flags = ["--constraint-rm", "node.hostname==w2", "--replicas-max-per-node", "1", "--replicas", "4"];
    await stage.ctl(["service", "update", "--detach", ...flags, "late"]);
    const tasks = await stage.running("late", 4);
    expect(tasks.map(({ node }) => node).sort()).toEqual(["m1", "w2", "w3", "w4"]);
    await stage.ctl(["service", "rm", "late"]);
  });
});
