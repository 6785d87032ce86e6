import {
  AssignmentsMessage,
  Dispatcher,
  durationOfMs,
  HeartbeatResponse,
  type LiveRequest,
  LiveResponse,
  NodeDescription,
  NodeLife,
  SessionMessage,
  type SessionRequest,
  UpdateTaskStatusRequest_TaskStatusUpdate as TaskStatusUpdate,
  type UpdateTaskStatusRequest,
} from "@starling/api";
import type { RpcClient } from "@starling/api/rpc";
import { FakeClock, SwarmError } from "@starling/base";
import { describe, expect, it } from "vitest";
import { holdSession, type Session } from "./session.ts";

const periodMs = 1_000;

/** A manager that answers beats while `answers` is true, and says something else every 300 ms while `talks` is. */
class BusyManager {
  readonly #clock: FakeClock;
  /** Whether it knows sessions with the beats in their stream. */
  readonly #live: boolean;
  answers = true;
  talks = false;
  /** Answers nothing at all. */
  silent = false;
  beats = 0;
  readonly described: string[] = [];
  readonly reported: string[] = [];
  /** Methods that were called, each once. */
  readonly called = new Set<unknown>();

  constructor(clock: FakeClock, live: boolean) {
    this.#clock = clock;
    this.#live = live;
  }

  waitReady = async () => undefined;

  call = async (
    method: unknown,
    request: unknown,
    { timeoutMs, signal }: { readonly timeoutMs: number; readonly signal: AbortSignal },
  ) => {
    this.called.add(method);
    if (this.silent) await aborted(signal);
    if (method === Dispatcher.methods.updateTaskStatus) {
      const refusal = this.#take((request as UpdateTaskStatusRequest).updates);
      if (refusal !== "") throw new SwarmError("PermissionDenied", refusal);
      return;
    }
    this.beats++;
    if (this.answers) return answer;
    await this.#clock.sleep(timeoutMs);
    throw new SwarmError("DeadlineExceeded", "no answer to a heartbeat");
  };

  async *stream(method: unknown, request: SessionRequest, { signal }: { readonly signal: AbortSignal }) {
    this.called.add(method);
    if (method === Dispatcher.methods.session) yield this.#begin(request);
    else yield* this.#assignments();
    await aborted(signal);
  }

  async *duplex(method: unknown, requests: AsyncIterable<LiveRequest>) {
    if (!this.#live) throw new SwarmError("Unimplemented", "unknown service");
    this.called.add(method);
    for await (const { session, heartbeat, report } of requests) {
      if (this.silent) continue;
      if (report !== undefined) yield LiveResponse.create({ reported: { refusal: this.#take(report.updates) } });
      if (session !== undefined) yield LiveResponse.create({ session: this.#begin(session) });
      if (heartbeat === undefined) continue;
      this.beats++;
      if (this.answers) yield LiveResponse.create({ heartbeat: answer });
    }
  }

  /** Tells why it takes none of them, or "". */
  #take(updates: readonly TaskStatusUpdate[]): string {
    if (updates.some(({ taskId }) => taskId === "foreign")) return "not yours";
    this.reported.push(...updates.map(({ taskId }) => taskId));
    return "";
  }

  #begin({ description }: SessionRequest): SessionMessage {
    this.described.push(description?.hostname ?? "");
    return SessionMessage.create({ sessionId: "s" });
  }

  async *#assignments() {
    for (let told = 0; ; ) {
      await this.#clock.sleep(300);
      if (!this.talks) continue;
      yield AssignmentsMessage.create({ appliesTo: String(told), resultsIn: String(++told) });
    }
  }
}

/** Rejects with the signal's reason. */
function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, reject) => {
    signal.addEventListener("abort", () => reject(signal.reason));
    if (signal.aborted) reject(signal.reason);
  });
}

const answer = HeartbeatResponse.create({ period: durationOfMs(periodMs) });

function begin(live: boolean) {
  const clock = new FakeClock();
  const manager = new BusyManager(clock, live);
  const stop = new AbortController();
  let end: string | undefined;
  let registered: Session | undefined;
  holdSession({
    client: manager as unknown as RpcClient,
    description: NodeDescription.create({ hostname: "h" }),
    previousId: "",
    clock,
    signal: stop.signal,
    onRegistered: (session) => {
      registered = session;
    },
    onMessage: () => undefined,
    onAssignments: () => undefined,
    leaving: async () => undefined,
  }).catch((error: Error) => {
    end = error.message;
  });
  return { clock, manager, stop, ended: () => end, session: () => registered! };
}

describe.each([
  ["in the session's stream", true],
  ["in calls of their own, as Docker's managers have it", false],
])("status reports %s", (_, live) => {
  const of = (taskId: string) => [TaskStatusUpdate.create({ taskId })];

  it("are acknowledged, or refused and the session goes on", async () => {
    const { clock, manager, ended, session } = begin(live);
    await clock.advance(1);
    await session().sendStatuses(of("t1"));
    await expect(session().sendStatuses(of("foreign"))).rejects.toMatchObject({
      code: "PermissionDenied",
      message: "not yours",
    });
    await session().sendStatuses(of("t2"));
    expect(manager.reported).toEqual(["t1", "t2"]);
    expect(manager.called.has(Dispatcher.methods.updateTaskStatus)).toBe(!live);
    expect(ended()).toBeUndefined();
  });

  it("that are not answered fail with the session", async () => {
    const { clock, manager, stop, session } = begin(live);
    await clock.advance(1);
    manager.silent = true;
    const sent = session().sendStatuses(of("t1"));
    stop.abort(new SwarmError("Cancelled", "swarmd stops"));
    await expect(sent).rejects.toMatchObject({ message: "swarmd stops" });
    await expect(session().sendStatuses(of("t1"))).rejects.toMatchObject({ message: "swarmd stops" });
  });
});

describe.each([
  ["in the session's stream", true],
  ["in calls of their own, as Docker's managers have it", false],
])("beats %s", (_, live) => {
  it("go on at the managers' period, and a new description begins no other session", async () => {
    const { clock, manager, stop, ended, session } = begin(live);
    await clock.advance(3 * periodMs);
    expect(manager.beats).toBe(4);
    session().describe(NodeDescription.create({ hostname: "renamed" }));
    await clock.advance(3 * periodMs);
    expect(manager.beats).toBe(7);
    expect(manager.described).toEqual(["h", "renamed"]);
    expect(ended()).toBeUndefined();
    const { session: ofSwarm, heartbeat, assignments } = Dispatcher.methods;
    expect(manager.called).toEqual(
      new Set<unknown>(live ? [NodeLife.methods.live, assignments] : [ofSwarm, assignments, heartbeat]),
    );
    stop.abort(new SwarmError("Cancelled", "swarmd stops"));
    await clock.advance(1);
    expect(ended()).toBe("swarmd stops");
  });

  it("without an answer end the session after a period in which the managers said nothing at all", async () => {
    const { clock, manager, ended } = begin(live);
    await clock.advance(3 * periodMs);
    manager.answers = false;
    await clock.advance(periodMs);
    expect(ended()).toBeUndefined();
    await clock.advance(periodMs);
    expect(ended()).toMatch(/^no answer to a heartbeat/);
  });

  it("without an answer are followed by the next at once where they said something else: they are busy", async () => {
    const { clock, manager, ended } = begin(live);
    manager.talks = true;
    await clock.advance(3 * periodMs);
    manager.answers = false;
    const before = manager.beats;
    await clock.advance(5 * periodMs);
    expect(ended()).toBeUndefined();
    expect(manager.beats - before).toBeGreaterThanOrEqual(4);
    manager.talks = false;
    await clock.advance(2 * periodMs);
    expect(ended()).toMatch(/^no answer to a heartbeat/);
  });
});
