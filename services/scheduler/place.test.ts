import { discreteResource, genericValue, NodeStatus_State, namedResource, Platform, TaskState } from "@starling/api";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GIB, nodeInfo, type TaskOptions, task } from "./fixtures.ts";
import type { NodeInfo } from "./node-info.ts";
import { placeGroup } from "./place.ts";

/** Runs a placement to its end: how many tasks each node got, and why the rest got none. */
function place(nodes: readonly NodeInfo[], count: number, options: TaskOptions = {}) {
  const group = Array.from({ length: count }, (_, n) => task(`${options.service ?? "web"}.${n}`, options));
  const perNode = Object.fromEntries(nodes.map(({ id }) => [id, 0]));
  const generic: string[] = [];
  const placing = placeGroup(group, nodes, 0);
  for (;;) {
    const step = placing.next();
    if (step.done) return { perNode, generic, unplaced: step.value.tasks.length, why: step.value.explanation };
    if (step.value === undefined) continue;
    perNode[step.value.info.id]!++;
    generic.push(...step.value.task.assignedGenericResources.map(genericValue));
  }
}

describe("placeGroup", () => {
  it("fills nodes to equal counts of the service, then goes round", () => {
    const nodes = ["a", "b", "c"].map((id) => nodeInfo(id));
    nodes[0]!.setTask(task("old1", { nodeId: "a", state: TaskState.RUNNING }));
    nodes[0]!.setTask(task("old2", { nodeId: "a", state: TaskState.RUNNING }));
    expect(place(nodes, 4).perNode).toEqual({ a: 0, b: 2, c: 2 });
    expect(place(nodes, 3).perNode).toEqual({ a: 1, b: 1, c: 1 });
  });

  it("breaks ties by the number of tasks of all services", () => {
    const nodes = ["a", "b"].map((id) => nodeInfo(id));
    nodes[0]!.setTask(task("db", { service: "db", nodeId: "a", state: TaskState.RUNNING }));
    expect(place(nodes, 1).perNode).toEqual({ a: 0, b: 1 });
  });

  it("goes past full nodes, and says for the rest what all nodes lack", () => {
    const nodes = [
      nodeInfo("a", { cpus: 1 }),
      nodeInfo("b", { cpus: 2 }),
      nodeInfo("c", { state: NodeStatus_State.DOWN }),
    ];
    expect(place(nodes, 5, { cpus: 1 })).toMatchObject({
      perNode: { a: 1, b: 2, c: 0 },
      unplaced: 2,
      why: "insufficient resources on 2 nodes; 1 node not available for new tasks",
    });
  });

  it("puts nodes on which the service version keeps failing last, until the failures are old", () => {
    const nodes = ["a", "b"].map((id) => nodeInfo(id));
    for (let n = 0; n < 5; n++) nodes[0]!.addFailure(task("x"), 0);
    expect(place(nodes, 2).perNode).toEqual({ a: 0, b: 2 });
    expect(nodes[0]!.failuresOf(task("x"), 5 * 60_000 - 1)).toBe(5);
    expect(nodes[0]!.failuresOf(task("x"), 5 * 60_000)).toBe(0);
    expect(nodes[0]!.failuresOf(task("x", { specVersion: 2 }), 0)).toBe(0);
  });

  it("spreads over the values of a label before it looks at nodes; a missing label is a value", () => {
    const nodes = [
      ...["a1", "a2", "a3"].map((id) => nodeInfo(id, { labels: { zone: "a" } })),
      nodeInfo("b1", { labels: { zone: "b" } }),
      nodeInfo("none"),
    ];
    expect(place(nodes, 9, { spread: ["node.labels.zone"] }).perNode).toEqual({ a1: 1, a2: 1, a3: 1, b1: 3, none: 3 });
  });

  it("gives a full branch's share to the others, evenly", () => {
    const nodes = [
      nodeInfo("a", { labels: { zone: "a" }, cpus: 1 }),
      nodeInfo("b", { labels: { zone: "b" } }),
      nodeInfo("c", { labels: { zone: "c" } }),
    ];
    expect(place(nodes, 5, { spread: ["node.labels.zone"], cpus: 1 }).perNode).toEqual({ a: 1, b: 2, c: 2 });
  });

  it("spreads within the branches of an earlier preference", () => {
    const nodes = [
      nodeInfo("a1", { labels: { zone: "a" }, engineLabels: { rack: "1" } }),
      nodeInfo("a2", { labels: { zone: "a" }, engineLabels: { rack: "2" } }),
      nodeInfo("a3", { labels: { zone: "a" }, engineLabels: { rack: "2" } }),
      nodeInfo("b1", { labels: { zone: "b" } }),
    ];
    const spread = ["node.labels.zone", "engine.labels.rack"];
    expect(place(nodes, 8, { spread }).perNode).toEqual({ a1: 2, a2: 1, a3: 1, b1: 4 });
  });

  it("claims generic resources: counts and names", () => {
    const nodes = [
      nodeInfo("a", { generic: [discreteResource("gpu", 3), namedResource("ssd", "x"), namedResource("ssd", "y")] }),
    ];
    const wanted = [discreteResource("gpu", 1), discreteResource("ssd", 1)];
    expect(place(nodes, 3, { generic: wanted })).toMatchObject({
      generic: ["1", "x", "1", "y"],
      unplaced: 1,
      why: "insufficient resources on 1 node",
    });
    nodes[0]!.removeTask("web.0");
    expect(nodes[0]!.genericLeft.map(genericValue)).toEqual(["2", "x"]);
  });

  it("explains each filter in Swarm's words", () => {
    const nodes = [nodeInfo("a"), nodeInfo("b")];
    const why = (options: TaskOptions) => place(nodes, 3, options).why;
    expect(why({ service: "s1", constraints: ["node.labels.disk==ssd"] })).toBe(
      "scheduling constraints not satisfied on 2 nodes",
    );
    expect(why({ service: "s2", platforms: [Platform.create({ architecture: "arm64" })] })).toBe(
      "unsupported platform on 2 nodes",
    );
    expect(why({ service: "s3", hostPort: 80 })).toBe("host-mode port already in use on 2 nodes");
    expect(why({ service: "s4", maxReplicas: 1 })).toBe("max replicas per node limit exceed");
    expect(why({ service: "s5", memory: 5 * GIB })).toBe("insufficient resources on 2 nodes");
    expect(
      place(nodes, 1, { service: "s6", platforms: [Platform.create({ architecture: "amd64", os: "linux" })] }).unplaced,
    ).toBe(0);
  });

  it("never overbooks a node, stays even, and leaves tasks only when no node has room", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ cpus: fc.integer({ min: 0, max: 8 }), before: fc.integer({ min: 0, max: 5 }) }), {
          maxLength: 12,
        }),
        fc.integer({ min: 1, max: 60 }),
        (specs, count) => {
          const nodes = specs.map(({ cpus, before }, n) => {
            const info = nodeInfo(`n${n}`, { cpus });
            for (let k = 0; k < before; k++)
              info.setTask(task(`old${n}.${k}`, { nodeId: info.id, state: TaskState.RUNNING }));
            return info;
          });
          const { perNode, unplaced } = place(nodes, count, { cpus: 1 });
          const room = specs.reduce((sum, { cpus }) => sum + cpus, 0);
          expect(unplaced).toBe(Math.max(0, count - room));
          for (const info of nodes) expect(info.nanoCpusLeft).toBeGreaterThanOrEqual(0);
          // A node that got a task had no more of the service than a node with room left ends with.
          const open = nodes.filter((info) => info.nanoCpusLeft > 0).map((info) => info.activeTasksOf("web"));
          const least = Math.min(...open, Number.POSITIVE_INFINITY);
          for (const info of nodes) {
            if (perNode[info.id]! > 0) expect(info.activeTasksOf("web") - 1).toBeLessThanOrEqual(least);
          }
        },
      ),
    );
  });
});
