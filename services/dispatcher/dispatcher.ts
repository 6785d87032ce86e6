import {
  type Cluster,
  type Dispatcher,
  durationOfMs,
  HeartbeatResponse,
  type NodeLife,
  NodeStatus_State,
  TakeLeaveRequest_Intent,
  TakeLeaveResponse,
  UpdateTaskStatusResponse,
  UpdateVolumeStatusResponse,
} from "@starling/api";
import type { Handlers } from "@starling/api/rpc";
import { SwarmError } from "@starling/base";
import type { EventOf, StoreEvent } from "@starling/store";
import { assignments, tasks } from "./assignment-streams.ts";
import { canWait } from "./assignments.ts";
import { Batcher } from "./batcher.ts";
import { seconds } from "./heartbeat.ts";
import { LastReport } from "./last-report.ts";
import { NodeFeed } from "./node-feed.ts";
import { Patiences } from "./patiences.ts";
import { batchWindowMs, type DispatcherOptions, type Running, type RunningNow } from "./running.ts";
import { live, session } from "./session-stream.ts";
import { Sessions } from "./sessions.ts";
import { commitReport } from "./status-reports.ts";
import { applyWrites, markNodesUnknown, orphanTasks, type Write } from "./store-writer.ts";

const { DISCONNECTED, DOWN, READY } = NodeStatus_State;

/** Reports that end a window early. */
const batchLimit = 10_000;

/** The leader's end of all agents. `handlers` answer Aborted while `run` is not running. */
export interface DispatcherServer {
  readonly handlers: Handlers<typeof Dispatcher>;
  readonly nodeLife: Handlers<typeof NodeLife>;
  run(signal: AbortSignal): Promise<void>;
}

export function createDispatcher(options: DispatcherOptions): DispatcherServer {
  let running: Running | undefined;
  const mustRun: RunningNow = async () => {
    if (running === undefined) throw stoppedError();
    const current = running;
    await current.ready;
    return current;
  };
  return {
    handlers: {
      session: (request, context) => session(mustRun, request, context),
      assignments: ({ sessionId }, context) => assignments(mustRun, sessionId, context),
      tasks: ({ sessionId }, context) => tasks(mustRun, sessionId, context),
      heartbeat: async ({ sessionId }, { caller }) => {
        const { sessions } = await mustRun();
        return HeartbeatResponse.create({ period: durationOfMs(sessions.beat(caller.nodeId, sessionId)) });
      },
      updateTaskStatus: async ({ sessionId, updates }, { caller }) => {
        const current = await mustRun();
        current.sessions.check(caller.nodeId, sessionId);
        await commitReport(current, caller.nodeId, updates);
        return UpdateTaskStatusResponse.create();
      },
      updateVolumeStatus: async ({ sessionId, updates }, { caller }) => {
        const { sessions, writes } = await mustRun();
        sessions.check(caller.nodeId, sessionId);
        const gone = updates.filter(({ unpublished }) => unpublished);
        await writes.add(
          gone.map(({ id }) => ({ t: "volume-unpublished", volumeId: id, nodeId: caller.nodeId }) as const),
        );
        return UpdateVolumeStatusResponse.create();
      },
    },
    nodeLife: {
      live: (requests, context) => live(mustRun, requests, context),
      takeLeave: async ({ sessionId, intent }, { caller: { nodeId } }) => {
        const { sessions, writes, feed } = await mustRun();
        const graceMs =
          intent === TakeLeaveRequest_Intent.SHUTDOWN
            ? sessions.shutDown(nodeId, sessionId)
            : sessions.leave(nodeId, sessionId);
        feed.tell(nodeId, { t: "ended" });
        const left =
          graceMs > 0
            ? { state: DISCONNECTED, message: `swarmd is restarted: its tasks are left alone for ${seconds(graceMs)}` }
            : { state: DOWN, message: "the host shuts down, or has left the swarm" };
        await writes.add([{ t: "node-status", nodeId, ...left }]);
        return TakeLeaveResponse.create({ grace: durationOfMs(graceMs) });
      },
    },
    run: async (signal) => {
      running = start(options);
      const { feed, sessions } = running;
      const unsubscribe = options.peers.subscribe(() => feed.tellAll({ t: "session" }));
      try {
        await serve(running, signal);
      } finally {
        unsubscribe();
        running = undefined;
        sessions.end(stoppedError());
        feed.tellAll({ t: "ended" });
      }
    },
  };
}

function start(options: DispatcherOptions): Running {
  const { store, clock, log } = options;
  const feed = new NodeFeed();
  const writer = { ...options, last: new LastReport() };
  const writes = new Batcher<Write>({
    clock,
    windowMs: batchWindowMs,
    limit: batchLimit,
    write: (items) => applyWrites(writer, items),
  });
  const logFailure = (what: string, nodeId: string) => (error: unknown) =>
    log.warn(`${what} not recorded`, { "node.id": nodeId, error });
  const patiences = new Patiences(store, options.clusterId);
  // A failure means that leadership is lost; the next leader watches this node anew.
  const write = (nodeId: string, state: NodeStatus_State, message: string) =>
    void writes.add([{ t: "node-status", nodeId, state, message }]).catch(logFailure("state of a node", nodeId));
  const sessions = new Sessions({
    clock,
    random: options.random,
    patiences,
    probe: async (nodeId) => {
      const address = store.view((tx) => tx.nodes.get(nodeId))?.status.addr ?? "";
      return address !== "" && nodeId !== options.ownNodeId && (await options.probeHost(address));
    },
    onAway: (nodeId, message) => {
      feed.tell(nodeId, { t: "ended" });
      write(nodeId, DISCONNECTED, message);
    },
    onDown: (nodeId, message) => {
      feed.tell(nodeId, { t: "ended" });
      write(nodeId, DOWN, message);
    },
    onOrphan: (nodeId) => void orphanTasks(options, nodeId).catch(logFailure("orphaned tasks", nodeId)),
    onSteady: (nodeId) => write(nodeId, READY, ""),
  });
  const ready = adopt(options, sessions);
  ready.catch(() => undefined); // Awaited by `serve`, and by each call that waits for it.
  return { options, sessions, feed, writes, ready };
}

async function adopt(options: DispatcherOptions, sessions: Sessions): Promise<void> {
  for (const [nodeId, found] of await markNodesUnknown(options)) sessions.adopt(nodeId, found);
}

/** Tells streams of what is committed, until the signal aborts. One watch serves all nodes. */
async function serve({ options, ready, feed, sessions }: Running, signal: AbortSignal): Promise<void> {
  const events = options.store.watch({ kinds: ["task", "node", "cluster"], signal });
  await ready;
  for await (const batch of events.batches()) for (const event of batch) route(event, feed, sessions);
}

function route(event: StoreEvent, feed: NodeFeed, sessions: Sessions): void {
  switch (event.kind) {
    case "task":
      routeTask(event, feed);
      return;
    case "node":
      if (event.action === "remove") sessions.forget(event.object.id);
      feed.tell(event.object.id, { t: event.action === "remove" ? "ended" : "session" });
      return;
    case "cluster":
      if (event.action === "update" && sessionPart(event.object) !== sessionPart(event.old)) {
        feed.tellAll({ t: "session" });
      }
      return;
  }
}

function routeTask(event: EventOf<"task">, feed: NodeFeed): void {
  const { id: taskId, nodeId } = event.object;
  if (nodeId !== "") feed.tell(nodeId, { t: "task", taskId, quiet: canWait(event) });
}

/** What of the cluster object sessions are told, as something to compare. */
function sessionPart(cluster: Cluster | undefined): string {
  if (cluster === undefined) return "";
  const keys = cluster.networkBootstrapKeys.map(({ subsystem, lamportTime }) => `${subsystem} ${lamportTime}`);
  return [...keys, Buffer.from(cluster.rootCa.caCert).toString("latin1")].join("\n");
}

function stoppedError(): SwarmError {
  return new SwarmError("Aborted", "dispatcher is stopped");
}
