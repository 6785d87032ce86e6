import { Metadata } from "@grpc/grpc-js";
import {
  Annotations,
  type AssignmentsMessage,
  AssignmentsRequest,
  Cluster,
  durationMs,
  enforcedMessage,
  Heartbeat,
  HeartbeatRequest,
  hasStopped,
  LiveRequest,
  LiveResponse,
  Node,
  NodeDescription,
  NodeSpec,
  NodeStatus,
  NodeStatus_State,
  type SessionMessage,
  SessionRequest,
  StatusReported,
  TakeLeaveRequest,
  TakeLeaveRequest_Intent,
  Task,
  TaskState,
  TaskStatus,
  UpdateTaskStatusRequest,
  UpdateTaskStatusRequest_TaskStatusUpdate,
  withMoveLabel,
} from "@starling/api";
import type { CallContext } from "@starling/api/rpc";
import { FakeClock, nullLogger, Wakeup } from "@starling/base";
import { MemoryStore } from "@starling/store";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createDispatcher, type DispatcherServer, weightedPeers } from "./index.ts";

const { UNKNOWN, DOWN, READY, DISCONNECTED } = NodeStatus_State;
let store: MemoryStore;
let clock: FakeClock;
let dispatcher: DispatcherServer;
let stop: AbortController;
let running: Promise<void>;
let managers = ["m1"];
let peersChanged: () => void;
/** Whether hosts answer probes. */
let hostsAnswer = false;

beforeEach(async () => {
  clock = new FakeClock();
  store = new MemoryStore({ clock });
  managers = ["m1"];
  hostsAnswer = false;
  await store.update((tx) => {
    tx.clusters.create(Cluster.create({ id: "c" }));
    tx.nodes.create(Node.create({ id: "n1" }));
    tx.nodes.create(Node.create({ id: "n2", status: NodeStatus.create({ state: DOWN }) }));
  });
  lead();
});
afterEach(async () => {
  stop.abort();
  await running;
});

function lead() {
  dispatcher = createDispatcher({
    store,
    clock,
    clusterId: "c",
    ownNodeId: "m1",
    random: () => 0.5,
    log: nullLogger,
    probeHost: async (address) => hostsAnswer && address === "10.0.0.7",
    peers: {
      current: () => weightedPeers(managers.map((nodeId) => ({ nodeId, addr: `${nodeId}:4242` }))),
      subscribe: (listener) => {
        peersChanged = listener;
        return () => undefined;
      },
    },
  });
  stop = new AbortController();
  running = dispatcher.run(stop.signal);
}

const from = (nodeId: string, signal = new AbortController().signal): CallContext => ({
  caller: { nodeId, roles: ["swarm-worker"], organization: "c", forwarded: false },
  signal,
  remoteAddress: "10.0.0.7:5555",
  metadata: new Metadata(),
});
const node = (id: string) => store.view((tx) => tx.nodes.get(id))!;
const task = (id: string) => store.view((tx) => tx.tasks.get(id));

/** Turns the clock a little, until the promise settles. */
async function soon<T>(promise: Promise<T>): Promise<T> {
  let settled = false;
  promise.then(
    () => {
      settled = true;
    },
    () => {
      settled = true;
    },
  );
  for (let i = 0; i < 50 && !settled; i++) await clock.advance(1);
  if (!settled) throw new Error("nothing happened within 50 ms");
  return await promise;
}

async function register(nodeId: string) {
  const stream = dispatcher.handlers
    .session(SessionRequest.create({ description: NodeDescription.create({ hostname: "h" }) }), from(nodeId))
    [Symbol.asyncIterator]();
  const { value } = await soon(stream.next());
  const first: SessionMessage = value!;
  return { stream, first, sessionId: first.sessionId };
}
const beat = (nodeId: string, sessionId: string) =>
  dispatcher.handlers.heartbeat(HeartbeatRequest.create({ sessionId }), from(nodeId));
const updates = (taskId: string, state: TaskState) => [
  UpdateTaskStatusRequest_TaskStatusUpdate.create({ taskId, status: TaskStatus.create({ state }) }),
];
const report = (nodeId: string, sessionId: string, taskId: string, state: TaskState) =>
  soon(
    dispatcher.handlers.updateTaskStatus(
      UpdateTaskStatusRequest.create({ sessionId, updates: updates(taskId, state) }),
      from(nodeId),
    ),
  );

describe("a session", () => {
  it("makes the node READY, with its address and description, and tells who manages", async () => {
    const { first } = await register("n1");
    expect(node("n1").status).toMatchObject({ state: READY, addr: "10.0.0.7" });
    expect(first.node).toMatchObject({ id: "n1", description: { hostname: "h" } });
    expect(first.managers.map(({ peer }) => peer?.addr)).toEqual(["m1:4242"]);
  });

  it("tells a change of managers and of the node object", async () => {
    const { stream } = await register("n1");
    managers = ["m1", "m2"];
    peersChanged();
    expect((await soon(stream.next())).value?.managers).toHaveLength(2);
    await store.update((tx) => tx.nodes.update({ ...node("n1"), vxlanUdpPort: 4790 }));
    expect((await soon(stream.next())).value?.node?.vxlanUdpPort).toBe(4790);
  });

  it("is refused to a node that the cluster does not know", async () => {
    await expect(register("stranger")).rejects.toMatchObject({ code: "NotFound" });
  });

  it("ends when the node registers anew; the old id is worth nothing", async () => {
    const old = await register("n1");
    const ending = old.stream.next();
    ending.catch(() => undefined);
    const { sessionId } = await register("n1");
    await expect(ending).rejects.toMatchObject({ code: "InvalidArgument", message: "session invalid" });
    await expect(beat("n1", old.sessionId)).rejects.toMatchObject({ message: "session invalid" });
    expect(durationMs((await beat("n1", sessionId)).period)).toBe(1_000);
  });

  it("is refused when begun more than three times in a moment", async () => {
    for (let i = 0; i < 3; i++) await register("n1");
    await expect(register("n1")).rejects.toMatchObject({ code: "Unavailable" });
    await clock.advance(2_000);
    await register("n1");
  });

  it("ends with Aborted when the leader steps down", async () => {
    const { stream, sessionId } = await register("n1");
    const ending = stream.next();
    ending.catch(() => undefined);
    stop.abort();
    await running;
    await expect(ending).rejects.toMatchObject({ code: "Aborted" });
    await expect(beat("n1", sessionId)).rejects.toMatchObject({ code: "Aborted" });
  });
});

describe("heartbeats", () => {
  it("keep a node READY; three missed make it DOWN", async () => {
    const { sessionId } = await register("n1");
    for (let second = 0; second < 10; second++) {
      await clock.advance(1_000);
      await beat("n1", sessionId);
    }
    expect(node("n1").status.state).toBe(READY);
    await clock.advance(2_900);
    expect(node("n1").status.state).toBe(READY);
    await clock.advance(200);
    expect(node("n1").status).toMatchObject({ state: DOWN, message: "heartbeat failure" });
    await expect(beat("n1", sessionId)).rejects.toMatchObject({ code: "NotFound", message: "node not registered" });
  });

  it("are awaited for four periods after a change of leader", async () => {
    await register("n1");
    stop.abort();
    await running;
    lead();
    await clock.advance(3_900);
    expect(node("n1").status).toMatchObject({ state: UNKNOWN, message: expect.stringContaining("leadership change") });
    await clock.advance(200);
    expect(node("n1").status.state).toBe(DOWN);
  });

  it("that never come again give up the node's running tasks after a day", async () => {
    await store.update((tx) => {
      tx.tasks.create(Task.create({ id: "t1", nodeId: "n2", status: TaskStatus.create({ state: TaskState.RUNNING }) }));
      tx.tasks.create(Task.create({ id: "t2", nodeId: "n2", status: TaskStatus.create({ state: TaskState.FAILED }) }));
    });
    await clock.advance(24 * 3_600_000 + 1);
    expect(task("t1")?.status.state).toBe(TaskState.ORPHANED);
    expect(task("t2")?.status.state).toBe(TaskState.FAILED);
  });
});

describe("a session with its heartbeats and reports", () => {
  /** What the node says, by pushing it; ends with `signal`. */
  function say(nodeId: string) {
    const requests: LiveRequest[] = [];
    const pushed = new Wakeup();
    const away = new AbortController();
    async function* said() {
      for (;;) {
        yield* requests.splice(0);
        await pushed.wait(away.signal);
      }
    }
    const stream = dispatcher.nodeLife.live(said(), from(nodeId, away.signal))[Symbol.asyncIterator]();
    return {
      away,
      push: (...more: LiveRequest[]) => {
        requests.push(...more);
        pushed.wake();
      },
      next: async () => (await soon(stream.next())).value as LiveResponse,
    };
  }
  const asSession = (hostname: string) =>
    LiveRequest.create({ session: SessionRequest.create({ description: NodeDescription.create({ hostname }) }) });
  const asReport = (taskId: string, state: TaskState) =>
    LiveRequest.create({ report: { updates: updates(taskId, state) } });
  const asBeat = LiveRequest.create({ heartbeat: Heartbeat.create() });

  async function begin(nodeId: string) {
    const said = say(nodeId);
    said.push(asSession("h"));
    const { session } = await said.next();
    return { ...said, sessionId: session!.sessionId };
  }

  it("in one stream begins as any, and stays as long as the node beats in it", async () => {
    const { push, next, sessionId } = await begin("n1");
    expect(node("n1").status).toMatchObject({ state: READY, addr: "10.0.0.7" });
    for (let second = 0; second < 10; second++) {
      push(asBeat);
      expect(durationMs((await next()).heartbeat?.period)).toBe(1_000);
      await clock.advance(1_000);
    }
    expect(node("n1").status.state).toBe(READY);
    await beat("n1", sessionId);
    await clock.advance(3_100);
    expect(node("n1").status.state).toBe(DOWN);
    await expect(next()).rejects.toMatchObject({ message: "node not registered" });
  });

  it("takes reports, committed when they are answered, one at a time", async () => {
    const assigned = TaskStatus.create({ state: TaskState.ASSIGNED });
    await store.update((tx) => tx.tasks.create(Task.create({ id: "t1", nodeId: "n1", status: assigned })));
    const { push, next } = await begin("n1");
    push(asReport("t1", TaskState.RUNNING), asBeat);
    expect((await next()).heartbeat).toBeDefined();
    expect(await next()).toEqual(LiveResponse.create({ reported: StatusReported.create() }));
    expect(task("t1")?.status).toMatchObject({ state: TaskState.RUNNING, appliedBy: "m1" });
    push(asReport("t1", TaskState.FAILED), asReport("t1", TaskState.FAILED));
    await expect(next()).rejects.toMatchObject({
      code: "InvalidArgument",
      message: expect.stringContaining("LiveRequest.report came before the last one was answered"),
    });
  });

  it("refuses reports of other nodes' tasks, and goes on", async () => {
    await store.update((tx) => tx.tasks.create(Task.create({ id: "t2", nodeId: "n2" })));
    const { push, next } = await begin("n1");
    push(asReport("t2", TaskState.RUNNING));
    expect((await next()).reported?.refusal).toBe("task t2: cannot update a task not assigned this node");
    expect(task("t2")?.status.state).toBe(TaskState.NEW);
    push(asReport("gone", TaskState.RUNNING));
    expect((await next()).reported?.refusal).toBe("");
  });

  it("takes no report once the node has begun another", async () => {
    await store.update((tx) => tx.tasks.create(Task.create({ id: "t1", nodeId: "n1" })));
    const { push, next } = await begin("n1");
    await register("n1");
    push(asReport("t1", TaskState.RUNNING));
    await expect(next()).rejects.toMatchObject({ message: "session invalid" });
    expect(task("t1")?.status.state).toBe(TaskState.NEW);
  });

  it("takes a new description, and tells changes between the answers", async () => {
    const { push, next, sessionId } = await begin("n1");
    push(asBeat, asSession("renamed"));
    expect((await next()).heartbeat).toBeDefined();
    const { session } = await next();
    expect(session).toMatchObject({ sessionId, node: { description: { hostname: "renamed" } } });
    expect(node("n1").description?.hostname).toBe("renamed");
  });

  it("ends when the node begins another, by whichever call", async () => {
    const { next } = await begin("n1");
    await register("n1");
    await expect(next()).rejects.toMatchObject({ message: "session invalid" });
  });

  it("ends with the dispatcher", async () => {
    const { next } = await begin("n1");
    stop.abort();
    await running;
    await expect(next()).rejects.toMatchObject({ code: "Aborted", message: "dispatcher is stopped" });
  });

  it("is none before the node says that it begins one, nor for an unknown node", async () => {
    const early = say("n1");
    early.push(asBeat);
    await expect(early.next()).rejects.toMatchObject({
      code: "InvalidArgument",
      message: expect.stringContaining("LiveRequest.session is missing"),
    });
    await expect(begin("n9")).rejects.toMatchObject({ code: "NotFound" });
  });
});

describe("a node that fell silent", () => {
  const label = (key: string, value: string) =>
    store.update((tx) => {
      const annotations = Annotations.create({ labels: { [`io.starling.node.${key}`]: value } });
      tx.nodes.update({ ...tx.nodes.get("n1")!, spec: NodeSpec.create({ annotations }) });
    });

  it("while its host answers is DISCONNECTED, and keeps its tasks for the grace", async () => {
    await register("n1");
    hostsAnswer = true;
    await clock.advance(3_100);
    expect(node("n1").status).toMatchObject({
      state: DISCONNECTED,
      message: "heartbeat failure, but the host answers: its tasks are left alone for 60 s",
    });
    await clock.advance(59_000);
    expect(node("n1").status.state).toBe(DISCONNECTED);
    await clock.advance(2_000);
    expect(node("n1").status).toMatchObject({ state: DOWN, message: "heartbeat failure: not back within 60 s" });
  });

  it("is READY again when it is back in time", async () => {
    await register("n1");
    hostsAnswer = true;
    await clock.advance(6_000);
    expect(node("n1").status.state).toBe(DISCONNECTED);
    const { sessionId } = await register("n1");
    expect(node("n1").status).toMatchObject({ state: READY, message: "" });
    await beat("n1", sessionId);
  });

  it("is DOWN soon after its host answers no more", async () => {
    await register("n1");
    hostsAnswer = true;
    await clock.advance(5_000);
    hostsAnswer = false;
    await clock.advance(5_000);
    expect(node("n1").status).toMatchObject({ state: DOWN, message: expect.stringContaining("does no more") });
  });

  it("after its leave is awaited though its host does not answer", async () => {
    const { sessionId } = await register("n1");
    const request = TakeLeaveRequest.create({ sessionId });
    const { grace } = await soon(dispatcher.nodeLife.takeLeave(request, from("n1")));
    expect(durationMs(grace)).toBe(60_000);
    expect(node("n1").status).toMatchObject({ state: DISCONNECTED, message: expect.stringContaining("restarted") });
    await expect(beat("n1", sessionId)).rejects.toMatchObject({ code: "NotFound" });
    await clock.advance(59_000);
    expect(node("n1").status.state).toBe(DISCONNECTED);
    await clock.advance(2_000);
    expect(node("n1").status.state).toBe(DOWN);
  });

  it("because its host shuts down is DOWN at once", async () => {
    const { sessionId } = await register("n1");
    const request = TakeLeaveRequest.create({ sessionId, intent: TakeLeaveRequest_Intent.SHUTDOWN });
    await soon(dispatcher.nodeLife.takeLeave(request, from("n1")));
    expect(node("n1").status).toMatchObject({ state: DOWN, message: "the host shuts down, or has left the swarm" });
  });

  it("is still awaited under the next leader", async () => {
    const { sessionId } = await register("n1");
    await soon(dispatcher.nodeLife.takeLeave(TakeLeaveRequest.create({ sessionId }), from("n1")));
    stop.abort();
    await running;
    lead();
    await clock.advance(30_000);
    expect(node("n1").status.state).toBe(DISCONNECTED);
  });

  it("is shown after one time and lost after another, as its labels or the cluster's say", async () => {
    await label("move-after", "10s");
    await register("n1");
    await clock.advance(3_100);
    expect(node("n1").status.state).toBe(DISCONNECTED);
    await clock.advance(6_000);
    expect(node("n1").status.state).toBe(DISCONNECTED);
    await clock.advance(1_000);
    expect(node("n1").status.state).toBe(DOWN);
  });

  it("again and again is held back at its return, until it has stayed for a while", async () => {
    for (let i = 0; i < 3; i++) {
      await register("n1");
      expect(node("n1").status.state).toBe(READY);
      await clock.advance(4_000);
      expect(node("n1").status.state).toBe(DOWN);
    }
    const { sessionId } = await register("n1");
    expect(node("n1").status).toMatchObject({
      state: DISCONNECTED,
      message: expect.stringContaining("stayed for 30 s"),
    });
    for (let second = 0; second < 31; second++) {
      await clock.advance(1_000);
      await beat("n1", sessionId);
    }
    expect(node("n1").status).toMatchObject({ state: READY, message: "" });
  });

  it("is held back as its labels, or the cluster's, say", async () => {
    await label("flap-losses", "1");
    await register("n1");
    await clock.advance(4_000);
    expect(node("n1").status.state).toBe(DOWN);
    await register("n1");
    expect(node("n1").status.state).toBe(DISCONNECTED);
    await label("flap-losses", "0");
    await register("n1");
    expect(node("n1").status.state).toBe(READY);
  });
});

describe("status reports", () => {
  beforeEach(() =>
    store.update((tx) => {
      tx.tasks.create(
        Task.create({ id: "t1", nodeId: "n1", status: TaskStatus.create({ state: TaskState.ASSIGNED }) }),
      );
    }),
  );

  it("are committed when acknowledged, stamped, and never go back", async () => {
    const { sessionId } = await register("n1");
    await report("n1", sessionId, "t1", TaskState.RUNNING);
    expect(task("t1")?.status).toMatchObject({ state: TaskState.RUNNING, appliedBy: "m1" });
    await report("n1", sessionId, "t1", TaskState.PREPARING);
    expect(task("t1")?.status.state).toBe(TaskState.RUNNING);
    const { version } = task("t1")!.meta;
    await report("n1", sessionId, "t1", TaskState.RUNNING);
    expect(task("t1")?.meta.version).toEqual(version);
  });

  it("of a task that a manager rejected tell only that nothing of it is left", async () => {
    const { sessionId } = await register("n1");
    const status = TaskStatus.create({ state: TaskState.REJECTED, message: enforcedMessage, err: "unfit" });
    await store.update((tx) => tx.tasks.update({ ...tx.tasks.get("t1")!, status }));
    await report("n1", sessionId, "t1", TaskState.RUNNING);
    expect(task("t1")).toSatisfy((each: Task) => !hasStopped(each));
    await report("n1", sessionId, "t1", TaskState.SHUTDOWN);
    expect(task("t1")?.status).toMatchObject({ ...status, appliedBy: "m1", appliedAt: expect.anything() });
    expect(task("t1")).toSatisfy(hasStopped);
  });

  it("of a task that was moved leave it to the managers to say why", async () => {
    const { sessionId } = await register("n1");
    const message = "rebalanced: moved to use node n2";
    const status = TaskStatus.create({ state: TaskState.RUNNING, message });
    await store.update((tx) => tx.tasks.update(withMoveLabel({ ...tx.tasks.get("t1")!, status }, "movedTo", "n2")));
    await report("n1", sessionId, "t1", TaskState.SHUTDOWN);
    expect(task("t1")?.status).toMatchObject({ state: TaskState.SHUTDOWN, message });
  });

  it("are refused for tasks of other nodes, ignored for tasks that are gone", async () => {
    await register("n1");
    const { sessionId } = await register("n2");
    await expect(report("n2", sessionId, "t1", TaskState.RUNNING)).rejects.toMatchObject({ code: "PermissionDenied" });
    await report("n2", sessionId, "gone", TaskState.RUNNING);
  });
});

describe("the assignments stream", () => {
  it("tells a task within milliseconds of its assignment", async () => {
    const { sessionId } = await register("n1");
    const stream = dispatcher.handlers
      .assignments(AssignmentsRequest.create({ sessionId }), from("n1"))
      [Symbol.asyncIterator]();
    expect((await soon(stream.next())).value).toMatchObject({ type: 0, changes: [] });
    const created = await store.update((tx) => tx.tasks.create(Task.create({ id: "t1" })));
    const next = soon(stream.next());
    const assigned = { ...created, nodeId: "n1", status: TaskStatus.create({ state: TaskState.ASSIGNED }) };
    await store.update((tx) => tx.tasks.update(assigned));
    const message: AssignmentsMessage = (await next).value!;
    expect(message).toMatchObject({ type: 1, appliesTo: "1", resultsIn: "2" });
    expect(message.changes.map(({ assignment }) => assignment?.task?.id)).toEqual(["t1"]);
  });

  it("the old Tasks stream sends all tasks of the node, again after each change", async () => {
    const { sessionId } = await register("n1");
    const assigned = TaskStatus.create({ state: TaskState.ASSIGNED });
    await store.update((tx) => tx.tasks.create(Task.create({ id: "t1", nodeId: "n1", status: assigned })));
    const stream = dispatcher.handlers.tasks({ sessionId }, from("n1"))[Symbol.asyncIterator]();
    expect((await soon(stream.next())).value?.tasks.map(({ id }: Task) => id)).toEqual(["t1"]);
    const next = soon(stream.next());
    await store.update((tx) => tx.tasks.create(Task.create({ id: "t2", nodeId: "n1", status: assigned })));
    expect((await next).value?.tasks.map(({ id }: Task) => id).sort()).toEqual(["t1", "t2"]);
  });

  it("needs a session", async () => {
    await register("n1");
    const stream = dispatcher.handlers.assignments(AssignmentsRequest.create({ sessionId: "x" }), from("n1"));
    await expect(soon(stream[Symbol.asyncIterator]().next())).rejects.toMatchObject({ message: "session invalid" });
  });
});
