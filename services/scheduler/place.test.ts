import {
  Driver,
  discreteResource,
  genericValue,
  Network,
  NodeStatus_State,
  namedResource,
  type PlacementStrategy,
  Platform,
  predefinedNetwork,
  TaskState,
} from "@starling/api";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GIB, nodeSet, type TaskOptions, task } from "./fixtures.ts";
import type { NodeSet } from "./node-set.ts";
import { fullness } from "./packed-order.ts";
import { placeGroup } from "./place.ts";

/** Runs a placement to its end: how many tasks each node got, and why the rest got none. */
function place(nodes: NodeSet, count: number, options: TaskOptions = {}, strategy: PlacementStrategy = "spread") {
  const group = Array.from({ length: count }, (_, n) => task(`${options.service ?? "web"}.${n}`, options));
  const perNode = Object.fromEntries([...nodes.values()].map(({ id }) => [id, 0]));
  const generic: string[] = [];
  const placing = placeGroup(group, nodes, { now: 0, strategy });
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
    const nodes = nodeSet({ a: {}, b: {}, c: {} });
    nodes.get("a")!.setTask(task("old1", { nodeId: "a", state: TaskState.RUNNING }));
    nodes.get("a")!.setTask(task("old2", { nodeId: "a", state: TaskState.RUNNING }));
    expect(place(nodes, 4).perNode).toEqual({ a: 0, b: 2, c: 2 });
    expect(place(nodes, 3).perNode).toEqual({ a: 1, b: 1, c: 1 });
  });

  it("breaks ties by the number of tasks of all services", () => {
    const nodes = nodeSet({ a: {}, b: {} });
    nodes.get("a")!.setTask(task("db", { service: "db", nodeId: "a", state: TaskState.RUNNING }));
    expect(place(nodes, 1).perNode).toEqual({ a: 0, b: 1 });
  });

  it("goes past full nodes, and says for the rest what all nodes lack", () => {
    const nodes = nodeSet({
      a: { cpus: 1 },
      b: { cpus: 2 },
      c: { state: NodeStatus_State.DOWN },
    });
    expect(place(nodes, 5, { cpus: 1 })).toMatchObject({
      perNode: { a: 1, b: 2, c: 0 },
      unplaced: 2,
      why: "insufficient resources on 2 nodes; 1 node not available for new tasks",
    });
  });

  it("puts nodes on which the service version keeps failing last, until the failures are old", () => {
    const nodes = nodeSet({ a: {}, b: {} });
    for (let n = 0; n < 5; n++) nodes.get("a")!.addFailure(task("x"), 0);
    expect(place(nodes, 2).perNode).toEqual({ a: 0, b: 2 });
    expect(nodes.get("a")!.failuresOf(task("x"), 5 * 60_000 - 1)).toBe(5);
    expect(nodes.get("a")!.failuresOf(task("x"), 5 * 60_000)).toBe(0);
    expect(nodes.get("a")!.failuresOf(task("x", { specVersion: 2 }), 0)).toBe(0);
  });

  it("spreads over the values of a label before it looks at nodes; a missing label is a value", () => {
    const nodes = nodeSet({
      a1: { labels: { zone: "a" } },
      a2: { labels: { zone: "a" } },
      a3: { labels: { zone: "a" } },
      b1: { labels: { zone: "b" } },
      none: {},
    });
    expect(place(nodes, 9, { spread: ["node.labels.zone"] }).perNode).toEqual({ a1: 1, a2: 1, a3: 1, b1: 3, none: 3 });
  });

  it("gives a full branch's share to the others, evenly", () => {
    const nodes = nodeSet({
      a: { labels: { zone: "a" }, cpus: 1 },
      b: { labels: { zone: "b" } },
      c: { labels: { zone: "c" } },
    });
    expect(place(nodes, 5, { spread: ["node.labels.zone"], cpus: 1 }).perNode).toEqual({ a: 1, b: 2, c: 2 });
  });

  it("spreads within the branches of an earlier preference", () => {
    const nodes = nodeSet({
      a1: { labels: { zone: "a" }, engineLabels: { rack: "1" } },
      a2: { labels: { zone: "a" }, engineLabels: { rack: "2" } },
      a3: { labels: { zone: "a" }, engineLabels: { rack: "2" } },
      b1: { labels: { zone: "b" } },
    });
    const spread = ["node.labels.zone", "engine.labels.rack"];
    expect(place(nodes, 8, { spread }).perNode).toEqual({ a1: 2, a2: 1, a3: 1, b1: 4 });
  });

  it("claims generic resources: counts and names", () => {
    const nodes = nodeSet({
      a: { generic: [discreteResource("gpu", 3), namedResource("ssd", "x"), namedResource("ssd", "y")] },
    });
    const wanted = [discreteResource("gpu", 1), discreteResource("ssd", 1)];
    expect(place(nodes, 3, { generic: wanted })).toMatchObject({
      generic: ["1", "x", "1", "y"],
      unplaced: 1,
      why: "insufficient resources on 1 node",
    });
    nodes.get("a")!.removeTask("web.0");
    expect(nodes.get("a")!.genericLeft.map(genericValue)).toEqual(["2", "x"]);
  });

  it("explains each filter in Swarm's words", () => {
    const nodes = nodeSet({ a: {}, b: {} });
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

  it("keeps what only swarmd gives away from Docker's engines, which take the rest", () => {
    const docker = ["Network/bridge", "Network/host", "Network/overlay"];
    const nodes = nodeSet({ ours: { plugins: [...docker, "Node/starling"] }, docker: { plugins: docker }, silent: {} });
    const overlay = Network.create({ id: "front", driverState: Driver.create({ name: "overlay" }) });
    const host = predefinedNetwork("host-id", "host");
    expect(place(nodes, 4, { networks: [host] }).perNode).toMatchObject({ ours: 2, docker: 2 });
    expect(place(nodes, 3, { networks: [overlay] }).perNode).toMatchObject({ ours: 3, docker: 0 });
    expect(place(nodes, 2, { taskLabels: { "io.starling.shm-size": "1m" } }).perNode).toMatchObject({ docker: 0 });
    const scheduled = { "io.starling.volume-placement": "anywhere", "io.starling.device": "" };
    const alone = nodeSet({ docker: { plugins: docker } });
    expect(place(alone, 1, { taskLabels: scheduled }).unplaced).toBe(0);
    expect(place(alone, 1, { networks: [overlay] }).why).toBe(
      "overlay networks and io.starling options not available on 1 node without swarmd",
    );
  });

  it("never overbooks a node, stays even, and leaves tasks only when no node has room", () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ cpus: fc.integer({ min: 0, max: 8 }), before: fc.integer({ min: 0, max: 5 }) }), {
          maxLength: 12,
        }),
        fc.integer({ min: 1, max: 90 }),
        (specs, count) => {
          const nodes = nodeSet(Object.fromEntries(specs.map(({ cpus }, n) => [`n${n}`, { cpus }])));
          for (const [n, { before }] of specs.entries()) {
            const info = nodes.get(`n${n}`)!;
            for (let k = 0; k < before; k++)
              info.setTask(task(`old${n}.${k}`, { nodeId: info.id, state: TaskState.RUNNING }));
          }
          const { perNode, unplaced } = place(nodes, count, { cpus: 1 });
          const room = specs.reduce((sum, { cpus }) => sum + cpus, 0);
          expect(unplaced).toBe(Math.max(0, count - room));
          for (const info of nodes.values()) expect(info.nanoCpusLeft).toBeGreaterThanOrEqual(0);
          // A node that got a task had no more of the service than a node with room left ends with.
          const open = [...nodes.values()]
            .filter((info) => info.nanoCpusLeft > 0)
            .map((info) => info.activeTasksOf("web"));
          const least = Math.min(...open, Number.POSITIVE_INFINITY);
          for (const info of nodes.values()) {
            if (perNode[info.id]! > 0) expect(info.activeTasksOf("web") - 1).toBeLessThanOrEqual(least);
          }
        },
      ),
    );
  });
});

describe("placeGroup that bin-packs", () => {
  const pack = (nodes: NodeSet, count: number, options: TaskOptions = {}) => place(nodes, count, options, "binpack");

  it("fills the node that is most used by reservations, then the next", () => {
    const nodes = nodeSet({ empty: {}, half: {}, most: {}, small: { cpus: 1 } });
    nodes.get("half")!.setTask(task("old1", { nodeId: "half", state: TaskState.RUNNING, cpus: 2 }));
    nodes.get("most")!.setTask(task("old2", { nodeId: "most", state: TaskState.RUNNING, cpus: 3 }));
    expect(pack(nodes, 2, { cpus: 1 }).perNode).toEqual({ empty: 0, half: 1, most: 1, small: 0 });
    expect(pack(nodes, 3, { service: "b", cpus: 1 })).toMatchObject({
      perNode: { empty: 2, half: 1, most: 0, small: 0 },
      unplaced: 0,
    });
    expect(pack(nodes, 9, { service: "c", cpus: 1 })).toMatchObject({
      perNode: { empty: 2, half: 0, most: 0, small: 1 },
      unplaced: 6,
      why: "insufficient resources on 4 nodes",
    });
  });

  it("without reservations keeps to the node with the most tasks, within max replicas", () => {
    const nodes = nodeSet({ a: {}, b: {}, c: {} });
    nodes.get("b")!.setTask(task("db", { service: "db", nodeId: "b", state: TaskState.RUNNING }));
    expect(pack(nodes, 5).perNode).toEqual({ a: 0, b: 5, c: 0 });
    expect(pack(nodes, 5, { service: "w", maxReplicas: 2 }).perNode).toEqual({ a: 2, b: 2, c: 1 });
  });

  it("counts both CPU and memory, the scarcer one more", () => {
    const nodes = nodeSet({ cpu: {}, both: {} });
    nodes.get("cpu")!.setTask(task("a", { nodeId: "cpu", state: TaskState.RUNNING, cpus: 3 }));
    nodes.get("both")!.setTask(task("b", { nodeId: "both", state: TaskState.RUNNING, cpus: 2, memory: 2 * GIB }));
    expect(pack(nodes, 1, { cpus: 1 }).perNode).toEqual({ cpu: 0, both: 1 });
  });

  it("spreads over the values of a preference first, and packs within each", () => {
    const nodes = nodeSet({
      a1: { labels: { zone: "a" } },
      a2: { labels: { zone: "a" } },
      b1: { labels: { zone: "b" } },
      b2: { labels: { zone: "b" } },
    });
    nodes.get("a2")!.setTask(task("db", { service: "db", nodeId: "a2", state: TaskState.RUNNING, cpus: 1 }));
    const { perNode } = pack(nodes, 6, { spread: ["node.labels.zone"], cpus: 0.5 });
    expect(perNode).toMatchObject({ a1: 0, a2: 3 });
    expect([perNode["b1"], perNode["b2"]].sort()).toEqual([0, 3]);
  });

  it("puts nodes on which the service version keeps failing last", () => {
    const nodes = nodeSet({ a: { cpus: 2 }, b: { cpus: 2 } });
    nodes.get("a")!.setTask(task("old", { nodeId: "a", state: TaskState.RUNNING, cpus: 0.5 }));
    for (let n = 0; n < 5; n++) nodes.get("a")!.addFailure(task("x"), 0);
    expect(pack(nodes, 2, { cpus: 1 }).perNode).toEqual({ a: 0, b: 2 });
    const [third] = [task("web.third", { cpus: 1 })];
    expect(placeGroup([third], nodes, { now: 0, strategy: "binpack" }).next().value).toMatchObject({
      info: { id: "a" },
    });
  });

  it("chooses the fullest node that fits, whatever was booked and freed before", () => {
    const step = fc.record({ node: fc.nat(149), cpus: fc.integer({ min: 1, max: 4 }), frees: fc.boolean() });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), fc.integer({ min: 1, max: 4 }), (steps, cpus) => {
        const nodes = nodeSet(
          Object.fromEntries(Array.from({ length: 150 }, (_, n) => [`n${n}`, { cpus: 2 + (n % 7) }])),
        );
        pack(nodes, 1);
        for (const [n, each] of steps.entries()) {
          const id = `n${each.node}`;
          const info = nodes.get(id);
          if (each.frees) for (const old of steps.keys()) info?.removeTask(`t${old}`);
          else if (info && info.nanoCpusLeft >= each.cpus * 1e9) {
            info.setTask(task(`t${n}`, { service: "x", nodeId: id, state: TaskState.RUNNING, cpus: each.cpus }));
          }
          // A removed node is not known any more.
          if (info && each.frees && n % 5 === 0) nodes.delete(info);
          if (n % 7 === 0) pack(nodes, 1, { service: "y", cpus: 0.1 });
        }
        const best = [...nodes.values()]
          .filter((info) => info.nanoCpusLeft >= cpus * 1e9)
          .sort((a, b) => fullness(b) - fullness(a) || b.activeTasks - a.activeTasks)[0];
        const before = new Map([...nodes.values()].map((info) => [info.id, [fullness(info), info.activeTasks]]));
        const chosen = Object.entries(pack(nodes, 1, { service: "z", cpus }).perNode).find(
          ([, count]) => count > 0,
        )?.[0];
        expect(before.get(chosen ?? "")).toEqual(best && before.get(best.id));
        expect(chosen === undefined).toBe(best === undefined);
      }),
      { seed: 11, numRuns: 60 },
    );
  });
});
