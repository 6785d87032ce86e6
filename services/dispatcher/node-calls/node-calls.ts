import {
  isForeignNode,
  type MethodTable,
  type NodeAccess,
  NodeCallEnd,
  NodeCallFrame,
  NodeCallNotice,
  NodeCallStart,
  type NodeCalls,
} from "@starling/api";
import type { CallContext, Handlers } from "@starling/api/rpc";
import { type Clock, codeName, type Millis, newId, SwarmError } from "@starling/base";
import type { MemoryStore } from "@starling/store";
import { nextUnlessAborted, unlessAborted, untilAborted } from "./until-aborted.ts";

/** A connected node takes a call at once. */
const takeTimeoutMs: Millis = 10_000;
/** Bytes of one message. */
const messageMax = 1 << 20;
/** Calls under way to one node. */
const callsPerNodeMax = 64;

type Frames = AsyncIterator<NodeCallFrame>;

interface Call {
  readonly id: string;
  readonly nodeId: string;
  readonly method: string;
  readonly requests: Frames;
  /** The node's stream, once it has taken the call; undefined when it went away before. */
  readonly taken: PromiseWithResolvers<{ readonly answers: Frames; readonly signal: AbortSignal }>;
  /** Aborts when the caller has its outcome, or went away. */
  readonly over: AbortController;
  isTaken: boolean;
  /** The node's outcome was passed on. */
  isDone: boolean;
}

/** Asks connected nodes from within the leader. */
export interface NodeAsker {
  /** Ids of the nodes that can be asked now. */
  readonly connected: readonly string[];
  /** The node's answers to one request. Throws as NodeAccess.Call does. */
  ask<Req, Res>(
    nodeId: string,
    method: MethodTable<Req, Res, boolean, boolean>,
    request: Req,
    signal: AbortSignal,
  ): AsyncIterable<Res>;
}

export interface NodeCallsOptions {
  readonly store: MemoryStore;
  readonly clock: Clock;
}

/**
 * Joins callers with nodes. A node listens over its session's connection, hears of a call, and answers it with a stream of
 * its own; frames are handed from one to the other one at a time, so that the slower one sets the pace and nothing is
 * kept here. When either side goes away the other one hears it.
 */
export function createNodeCalls({ store, clock }: NodeCallsOptions): {
  readonly access: Handlers<typeof NodeAccess>;
  readonly nodeCalls: Handlers<typeof NodeCalls>;
  readonly asker: NodeAsker;
} {
  const calls = new Map<string, Call>();
  /** The newest listening stream of each node. */
  const listeners = new Map<string, (notice: NodeCallNotice) => void>();

  async function open(requests: Frames, signal: AbortSignal): Promise<Call> {
    const first = await nextUnlessAborted(requests, signal);
    const start = first.done ? undefined : first.value.start;
    if (start === undefined) throw new SwarmError("InvalidArgument", "the first frame must be a start");
    const { nodeId, method } = start;
    const node = store.view((tx) => tx.nodes.get(nodeId));
    if (node === undefined) throw new SwarmError("NotFound", `node ${JSON.stringify(nodeId)} not found`);
    if (isForeignNode(node.description)) {
      const name = node.description?.hostname || nodeId;
      throw new SwarmError("Unimplemented", `node ${name} runs no swarmd: use the tools of the Docker Engine there`);
    }
    const tell = listeners.get(nodeId);
    if (tell === undefined) throw new SwarmError("Unavailable", `node ${nodeId} is not connected`);
    if ([...calls.values()].filter((other) => other.nodeId === nodeId).length >= callsPerNodeMax) {
      throw new SwarmError("ResourceExhausted", `node ${nodeId} answers ${callsPerNodeMax} calls already: try again`);
    }
    const over = new AbortController();
    const taken = Promise.withResolvers<{ readonly answers: Frames; readonly signal: AbortSignal }>();
    taken.promise.catch(() => undefined); // The caller may have gone.
    const call: Call = { id: newId(), nodeId, method, requests, taken, over, isTaken: false, isDone: false };
    calls.set(call.id, call);
    tell(NodeCallNotice.create({ callId: call.id, method }));
    return call;
  }

  async function* relay(call: Call, signal: AbortSignal): AsyncGenerator<NodeCallFrame> {
    const gone = new SwarmError("Unavailable", `node ${call.nodeId} went away`);
    const timer = clock.setTimer(takeTimeoutMs, () =>
      call.taken.reject(new SwarmError("Unavailable", `node ${call.nodeId} did not take the call`)),
    );
    const { answers, signal: connected } = await unlessAborted(call.taken.promise, signal).finally(() =>
      timer.cancel(),
    );
    const lost = new AbortController();
    const onLost = () => lost.abort(gone);
    const onLeft = () => lost.abort(signal.reason);
    if (connected.aborted) onLost();
    connected.addEventListener("abort", onLost, { once: true });
    signal.addEventListener("abort", onLeft, { once: true });
    try {
      for await (const { message, end } of untilAborted(answers, lost.signal)) {
        if (message !== undefined) yield messageFrame(message);
        else if (end !== undefined) {
          call.isDone = true;
          return finish(end);
        }
      }
      throw gone;
    } finally {
      connected.removeEventListener("abort", onLost);
      signal.removeEventListener("abort", onLeft);
    }
  }

  async function* serve(requests: AsyncIterable<NodeCallFrame>, signal: AbortSignal): AsyncGenerator<NodeCallFrame> {
    const call = await open(requests[Symbol.asyncIterator](), signal);
    try {
      yield* relay(call, signal);
    } finally {
      calls.delete(call.id);
      call.over.abort(new SwarmError("Cancelled", "the caller went away"));
    }
  }

  return {
    access: { call: (requests, { signal }) => serve(requests, signal) },
    asker: {
      get connected() {
        return [...listeners.keys()];
      },
      async *ask(nodeId, method, request, signal) {
        async function* requests() {
          yield NodeCallFrame.create({ start: NodeCallStart.create({ nodeId, method: method.path }) });
          yield NodeCallFrame.create({ message: method.request.encode(request) });
        }
        for await (const { message } of serve(requests(), signal)) {
          if (message !== undefined) yield method.response.decode(message);
        }
      },
    },
    nodeCalls: {
      listen: (_request, context) => listen(listeners, context),
      async *answer(frames, { caller, signal }) {
        const answers = frames[Symbol.asyncIterator]();
        const first = await nextUnlessAborted(answers, signal);
        const call = calls.get((first.done ? undefined : first.value.callId) ?? "");
        if (call === undefined || call.nodeId !== caller.nodeId || call.isTaken) {
          throw new SwarmError("NotFound", `no such call to node ${caller.nodeId}`);
        }
        call.isTaken = true;
        call.taken.resolve({ answers, signal });
        try {
          yield* requestsOf(call);
        } catch (thrown) {
          if (!call.isDone) throw thrown;
        }
      },
    },
  };
}

/** Calls to the node from now on. A later stream of the same node takes its place. */
async function* listen(
  listeners: Map<string, (notice: NodeCallNotice) => void>,
  { caller, signal }: CallContext,
): AsyncGenerator<NodeCallNotice> {
  const { nodeId } = caller;
  if (nodeId === "")
    throw new SwarmError("InvalidArgument", "the caller has no node id: call with a node's certificate");
  // As many as there may be calls under way.
  const untold: NodeCallNotice[] = [];
  let wake = Promise.withResolvers<void>();
  const tell = (notice: NodeCallNotice) => {
    untold.push(notice);
    wake.resolve();
  };
  listeners.set(nodeId, tell);
  try {
    for (;;) {
      yield* untold.splice(0);
      if (untold.length > 0) continue;
      await unlessAborted(wake.promise, signal);
      wake = Promise.withResolvers<void>();
    }
  } finally {
    if (listeners.get(nodeId) === tell) listeners.delete(nodeId);
  }
}

/** What the caller sends, until the call is over. */
async function* requestsOf(call: Call): AsyncGenerator<NodeCallFrame> {
  const over = call.over.signal;
  for await (const { message } of untilAborted(call.requests, over)) {
    if (message !== undefined) yield messageFrame(message);
  }
  yield NodeCallFrame.create({ end: NodeCallEnd.create() });
  // The answers are still being read.
  await unlessAborted(new Promise<never>(() => undefined), over);
}

function messageFrame(message: Uint8Array): NodeCallFrame {
  if (message.length <= messageMax) return NodeCallFrame.create({ message });
  throw new SwarmError("ResourceExhausted", `a message of ${message.length} bytes: at most ${messageMax}`);
}

function finish({ code, message }: NodeCallEnd): void {
  if (code !== 0) throw new SwarmError(codeName(code), message);
}
