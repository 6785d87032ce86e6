import {
  type AssignmentsMessage,
  AssignmentsRequest,
  Dispatcher,
  type NodeDescription,
  NodeLife,
  type SessionMessage,
  TakeLeaveRequest,
  type TakeLeaveRequest_Intent,
  type UpdateTaskStatusRequest_TaskStatusUpdate as TaskStatusUpdate,
} from "@starling/api";
import type { RpcClient } from "@starling/api/rpc";
import { type Clock, type Millis, SwarmError } from "@starling/base";
import { type Lifeline, type LifelineOptions, LiveStream, SwarmSession } from "./lifeline.ts";

/** A live manager begins a session at once. */
const beginTimeoutMs: Millis = 5_000;
/** A manager whose host is gone does not even refuse: another one is tried after this. */
const connectTimeoutMs: Millis = 1_000;
/** Its end waits for that: no manager may be left. */
const leaveTimeoutMs: Millis = 1_000;
/** Until the first heartbeat tells the managers' period. */
const firstPeriodMs: Millis = 1_000;

/** A registered session, for as long as `signal` is not aborted. */
export interface Session {
  readonly id: string;
  readonly client: RpcClient;
  readonly signal: AbortSignal;
  /** Resolves when the managers have committed the reports. */
  sendStatuses(updates: readonly TaskStatusUpdate[]): Promise<void>;
  /** Tells the managers what the node is like from now on; everything else of the session goes on. */
  describe(description: NodeDescription): void;
}

export interface SessionOptions {
  readonly client: RpcClient;
  readonly description: NodeDescription;
  /** Of the last session, which the managers go on with if they still know it; else "". */
  readonly previousId: string;
  readonly clock: Clock;
  readonly signal: AbortSignal;
  readonly onRegistered: (session: Session) => void;
  readonly onMessage: (message: SessionMessage) => void;
  readonly onAssignments: (message: AssignmentsMessage) => void;
  /** What managers are told when `signal` has ended the session; undefined: nothing. */
  readonly leaving: () => Promise<TakeLeaveRequest_Intent | undefined>;
}

/** Registers, then beats, listens and takes assignments until one of these fails. Always rejects, with what ended it. */
export async function holdSession(options: SessionOptions): Promise<never> {
  const ended = new AbortController();
  const signal = AbortSignal.any([options.signal, ended.signal]);
  let registeredId: string | undefined;
  let heardAt: Millis = options.clock.monotonic();
  const hear = () => {
    heardAt = options.clock.monotonic();
  };
  try {
    const opening = options.clock.setTimer(beginTimeoutMs, () =>
      ended.abort(new SwarmError("DeadlineExceeded", `no session within ${beginTimeoutMs} ms`)),
    );
    options.client.waitReady(connectTimeoutMs).catch((error) => ended.abort(error));
    const { line, first } = await openLine({ ...options, signal }).finally(() => opening.cancel());
    const id = first.sessionId;
    registeredId = id;
    options.onMessage(first);
    options.onRegistered({
      id,
      client: options.client,
      signal,
      sendStatuses: async (updates) => {
        await line.report(updates);
        hear();
      },
      describe: (description) => line.describe(description),
    });
    return await Promise.race([
      listen(line, id, options),
      beat(line, options.clock, () => heardAt, signal),
      takeAssignments(id, options, hear, signal),
    ]);
  } finally {
    if (registeredId !== undefined && options.signal.aborted) await takeLeave(registeredId, options);
    ended.abort(new SwarmError("Cancelled", "session ended"));
  }
}

/** Managers that do not hear of it, or do not know what it is, find out by the heartbeats. */
async function takeLeave(sessionId: string, { client, leaving }: SessionOptions): Promise<void> {
  const intent = await leaving();
  if (intent === undefined) return;
  const request = TakeLeaveRequest.create({ sessionId, intent });
  await client.call(NodeLife.methods.takeLeave, request, { timeoutMs: leaveTimeoutMs }).catch(() => undefined);
}

/** Resolves with the first message of managers, and where the next ones come. */
async function openLine(
  options: LifelineOptions,
): Promise<{ readonly line: Lifeline; readonly first: SessionMessage }> {
  const begin = async (line: Lifeline) => {
    const { done, value } = await line.messages.next();
    if (done) throw new SwarmError("Unavailable", "the manager ended the session at once");
    return { line, first: value };
  };
  try {
    return await begin(new LiveStream(options));
  } catch (thrown) {
    // Docker's managers, and older ones of ours.
    if (SwarmError.from(thrown).code !== "Unimplemented") throw thrown;
    return await begin(new SwarmSession(options));
  }
}

async function listen({ messages }: Lifeline, sessionId: string, { onMessage }: SessionOptions): Promise<never> {
  for (;;) {
    const { done, value } = await messages.next();
    if (done) throw new SwarmError("Unavailable", "the manager ended the session");
    if (value.sessionId !== sessionId) throw new SwarmError("Unavailable", "the manager began another session");
    onMessage(value);
  }
}

/**
 * One period is also the time that a beat may take: after three without an answer managers count the node as down. Those that say
 * other things in that time are there, but busy: the next beat goes at once.
 */
async function beat(line: Lifeline, clock: Clock, heardAt: () => Millis, signal: AbortSignal): Promise<never> {
  let periodMs = firstPeriodMs;
  for (;;) {
    const sentAt = clock.monotonic();
    try {
      periodMs = (await line.beat(Math.max(firstPeriodMs, periodMs))) || firstPeriodMs;
    } catch (thrown) {
      if (SwarmError.from(thrown).code !== "DeadlineExceeded" || heardAt() <= sentAt) throw thrown;
      continue;
    }
    await clock.sleep(periodMs, signal);
  }
}

async function takeAssignments(
  sessionId: string,
  { client, onAssignments }: SessionOptions,
  hear: () => void,
  signal: AbortSignal,
): Promise<never> {
  for (;;) {
    let state: string | undefined;
    const messages = client.stream(Dispatcher.methods.assignments, AssignmentsRequest.create({ sessionId }), {
      signal,
    });
    for await (const message of messages) {
      hear();
      // A gap: something was lost on the way. Leaving the loop ends the stream; the next begins with everything.
      if (state !== undefined && message.appliesTo !== state) break;
      state = message.resultsIn;
      onAssignments(message);
    }
    if (state === undefined) throw new SwarmError("Unavailable", "the manager ended the assignments");
  }
}
