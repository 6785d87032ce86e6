import {
  durationOfMs,
  HeartbeatResponse,
  type LiveRequest,
  LiveResponse,
  type Node,
  type NodeDescription,
  NodeStatus_State,
  SessionMessage,
  type SessionRequest,
  type StatusReport,
  StatusReported,
  sameValue,
} from "@starling/api";
import { type CallContext, forEachRequest, Outgoing } from "@starling/api/rpc";
import { type Millis, pacedTurn, SwarmError } from "@starling/base";
import { callerHost } from "./address.ts";
import { seconds } from "./heartbeat.ts";
import type { Running, RunningNow } from "./running.ts";
import { commitReport } from "./status-reports.ts";

/**
 * Registers the node (or goes on with the session it names) and tells it who it is, who manages, and what to trust: at
 * once, and again whenever that changes. Ends when another session of the node begins or this one is lost.
 */
export function session(
  runningNow: RunningNow,
  request: SessionRequest,
  context: CallContext,
): Outgoing<SessionMessage> {
  let held: HeldSession | undefined;
  const stream = new Outgoing(() => held?.news(), context.signal);
  const begin = async () => {
    held = await HeldSession.begin(await runningNow(), request, context, stream);
    stream.wake();
  };
  begin().catch(stream.end);
  return stream;
}

/** As `session`, with the node's heartbeats and reports and their answers in the same stream. Ends also when the node says no more. */
export function live(
  runningNow: RunningNow,
  requests: AsyncIterable<LiveRequest>,
  context: CallContext,
): Outgoing<LiveResponse> {
  let held: HeldSession | undefined;
  const next = (): LiveResponse | undefined => {
    const session = held?.news();
    if (session !== undefined) return LiveResponse.create({ session });
    const heartbeat = held?.answer();
    if (heartbeat !== undefined) return LiveResponse.create({ heartbeat });
    const reported = held?.reported();
    return reported && LiveResponse.create({ reported });
  };
  const stream = new Outgoing(next, context.signal);
  const begin = async ({ session }: LiveRequest) => {
    if (session === undefined) {
      throw new SwarmError("InvalidArgument", "LiveRequest.session is missing in the first message: begin with it");
    }
    held = await HeldSession.begin(await runningNow(), session, context, stream);
    stream.wake();
  };
  const hear = (request: LiveRequest) => (held === undefined ? begin(request) : held.hear(request));
  forEachRequest(requests, hear).then(() => stream.end(), stream.end);
  return stream;
}

/** What a stream of the node's session has yet to tell the node. */
class HeldSession {
  readonly #running: Running;
  readonly #context: CallContext;
  readonly #sessionId: string;
  readonly #stream: Outgoing<unknown>;
  #told: Omit<SessionMessage, "sessionId"> | undefined;
  #changed = true;
  /** Of the last beat that is not answered yet. */
  #periodMs: Millis | undefined;
  /** The last report, until its answer is taken. */
  #report: { refusal?: string } | undefined;

  private constructor(running: Running, context: CallContext, sessionId: string, stream: Outgoing<unknown>) {
    this.#running = running;
    this.#context = context;
    this.#sessionId = sessionId;
    this.#stream = stream;
  }

  /** Resolves when it is committed that the node is there, and what it is like. */
  static async begin(
    running: Running,
    { sessionId, description }: SessionRequest,
    context: CallContext,
    stream: Outgoing<unknown>,
  ): Promise<HeldSession> {
    const { options, sessions, feed } = running;
    const { nodeId } = context.caller;
    if (options.store.view((tx) => tx.nodes.get(nodeId)) === undefined) {
      throw new SwarmError("NotFound", `node ${nodeId} not found in the cluster`);
    }
    const goesOn = sessions.isCurrent(nodeId, sessionId);
    const registered = goesOn ? { sessionId, heldBackMs: undefined } : sessions.register(nodeId);
    if (!goesOn) {
      feed.tell(nodeId, { t: "ended" });
      options.log.info("node registered", { "node.id": nodeId, address: context.remoteAddress || undefined });
    }
    const held = new HeldSession(running, context, registered.sessionId, stream);
    const { heldBackMs } = registered;
    const state = heldBackMs ? heldBack(heldBackMs) : heldBackMs === 0 ? ready : {};
    stream.whenClosed(feed.subscribe(nodeId, ({ t }) => t !== "task" && held.#change()));
    await held.#describe({ description, ...state });
    // All nodes register with a new leader, and many share a transaction.
    await pacedTurn(options.clock);
    return held;
  }

  /** What changed may be of the cluster, and so for all nodes: their messages are not to be made all at once. */
  #change(): void {
    if (this.#changed) return;
    this.#changed = true;
    void pacedTurn(this.#running.options.clock).then(this.#stream.wake);
  }

  async #describe(status: { readonly description?: NodeDescription | undefined; readonly state?: NodeStatus_State }) {
    const { caller, remoteAddress } = this.#context;
    const write = { t: "node-status", nodeId: caller.nodeId, addr: callerHost(remoteAddress), ...status } as const;
    await this.#running.writes.add([write]);
  }

  /** Takes what the node says. Throws when the session is not the node's any more. */
  hear({ session, heartbeat, report }: LiveRequest): Promise<void> | void {
    if (heartbeat !== undefined) {
      this.#periodMs = this.#running.sessions.beat(this.#context.caller.nodeId, this.#sessionId);
      this.#stream.wake();
    }
    if (report !== undefined) this.#take(report);
    if (session !== undefined) return this.#describe({ description: session.description });
  }

  /** Beats that come while it is being committed do not wait for that; what goes wrong ends the stream. */
  #take({ updates }: StatusReport): void {
    const { nodeId } = this.#context.caller;
    this.#running.sessions.check(nodeId, this.#sessionId);
    if (this.#report !== undefined) {
      throw new SwarmError(
        "InvalidArgument",
        "LiveRequest.report came before the last one was answered: wait for that",
      );
    }
    const report: { refusal?: string } = {};
    this.#report = report;
    const answer = (refusal: string) => {
      report.refusal = refusal;
      this.#stream.wake();
    };
    commitReport(this.#running, nodeId, updates).then(
      () => answer(""),
      (thrown) => {
        const { code, message } = SwarmError.from(thrown);
        if (code === "PermissionDenied") answer(message);
        else this.#stream.end(thrown);
      },
    );
  }

  /** What the node is to be told, if it differs from what it was. Throws when the session is not the node's any more. */
  news(): SessionMessage | undefined {
    if (!this.#changed) return undefined;
    this.#changed = false;
    this.#running.sessions.check(this.#context.caller.nodeId, this.#sessionId);
    const state = this.#read();
    if (sameValue(state, this.#told)) return undefined;
    this.#told = state;
    return SessionMessage.create({ sessionId: this.#sessionId, ...state });
  }

  /** The answer to the node's beat, if it waits for one. */
  answer(): HeartbeatResponse | undefined {
    if (this.#periodMs === undefined) return undefined;
    const period = durationOfMs(this.#periodMs);
    this.#periodMs = undefined;
    return HeartbeatResponse.create({ period });
  }

  /** The answer to the node's report, if it is committed or refused. */
  reported(): StatusReported | undefined {
    const refusal = this.#report?.refusal;
    if (refusal === undefined) return undefined;
    this.#report = undefined;
    return StatusReported.create({ refusal });
  }

  #read(): Omit<SessionMessage, "sessionId"> {
    const { options } = this.#running;
    const { node, cluster } = options.store.view((tx) => ({
      node: tx.nodes.get(this.#context.caller.nodeId) as Node | undefined,
      cluster: tx.clusters.get(options.clusterId),
    }));
    return {
      node,
      managers: options.peers.current(),
      networkBootstrapKeys: cluster?.networkBootstrapKeys ?? [],
      rootCa: cluster?.rootCa.caCert ?? new Uint8Array(),
    };
  }
}

const ready = { state: NodeStatus_State.READY, message: "" };

/** Of a node that came and went too often. */
function heldBack(ms: Millis): { readonly state: NodeStatus_State; readonly message: string } {
  const message = `lost several times within minutes: it gets no tasks until it has stayed for ${seconds(ms)}`;
  return { state: NodeStatus_State.DISCONNECTED, message };
}
