import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/**
 * What a node offers beyond CPUs and memory: claimed by tasks, each part by one, and free again when they end. Its label is
 * what their service asks for.
 */
describe("generic resources", () => {
  let stage: Stage;

  beforeAll(async () => {
    stage = await Stage.open("generic", ["m1"]);
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  async function restartWith(...flags: string[]): Promise<void> {
    const host = stage.host("m1");
    await stage.swarm.endNode(host, "TERM");
    await stage.swarm.startNode(host, undefined, undefined, ["--label", "disk=ssd", ...flags]);
    await stage.swarm.ready([host]);
  }

  const waiting = () =>
    stage.task("claims", "waits for what is taken", (row) => row.error.includes("insufficient resources"));
  const environment = async (id: string) => {
    const pid = await stage.pidOf(id);
    const text = await stage.host("m1").mustExec(["cat", `/proc/${pid}/environ`]);
    return text.split("\0").filter((variable) => variable.startsWith("DOCKER_RESOURCE_"));
  };

  it("are told by the node, claimed by tasks, and handed to those that got them", async () => {
    await stage.create(
      "claims",
      ["--generic-resource", "gpu=1", "--generic-resource", "slots=2", "--constraint", "engine.labels.disk==ssd"],
      stage.image("tools"),
      "sleep",
      "1000",
    );
    expect((await waiting()).currentState).toBe("PENDING");
    await restartWith("--generic-node-resources", "gpu=a,gpu=b", "--generic-node-resources", "slots=5");
    expect(await stage.ctl(["node", "inspect", "m1", "--pretty"])).toMatch(
      /^Generic Resources:\s+gpu=a gpu=b slots=5$/m,
    );
    await stage.running("claims", 1);
    await stage.ctl(["service", "scale", "--detach", "claims=3"]);
    expect((await waiting()).currentState).toBe("PENDING");
    const running = (await stage.tasks("claims")).filter((row) => row.currentState === "RUNNING");
    const handed = await Promise.all(running.map(({ id }) => environment(id)));
    expect(handed.map((variables) => variables.sort()).sort()).toEqual([
      ["DOCKER_RESOURCE_GPU=a", "DOCKER_RESOURCE_SLOTS=2"],
      ["DOCKER_RESOURCE_GPU=b", "DOCKER_RESOURCE_SLOTS=2"],
    ]);
  });

  it("stay with their tasks when swarmd is started anew, and go to others when a task ends", async () => {
    await restartWith("--generic-node-resources", "gpu=a,gpu=b,slots=5");
    await stage.create("other", ["--generic-resource", "gpu=1"], stage.image("tools"), "sleep", "1000");
    await stage.task("other", "waits for a name", (row) => row.error.includes("insufficient resources"));
    await stage.ctl(["service", "scale", "--detach", "claims=1"]);
    const [other] = await stage.running("other", 1);
    const [kept] = await stage.running("claims", 1);
    const handed = [...(await environment(other!.id)), ...(await environment(kept!.id))];
    expect(handed.sort()).toEqual(["DOCKER_RESOURCE_GPU=a", "DOCKER_RESOURCE_GPU=b", "DOCKER_RESOURCE_SLOTS=2"]);
  });

  it("that a node has no more cost their tasks the place", async () => {
    const names = async () => {
      const rows = await stage.tasks("other");
      const running = rows.find((row) => row.desiredState === "RUNNING" && row.currentState === "RUNNING");
      return running && (await environment(running.id).catch(() => [])).join();
    };
    const left = (await names()) === "DOCKER_RESOURCE_GPU=a" ? "b" : "a";
    await restartWith("--generic-node-resources", `gpu=${left}`);
    await until("its task has the name that is left", async () => (await names()) === `DOCKER_RESOURCE_GPU=${left}`);
    expect((await waiting()).currentState).toBe("PENDING");
  });
});
