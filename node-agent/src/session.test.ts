import {
  AssignmentsMessage,
  Dispatcher,
  durationOfMs,
  HeartbeatResponse,
  NodeDescription,
  SessionMessage,
} from "@starling/api";
import type { RpcClient } from "@starling/api/rpc";
import { FakeClock, SwarmError } from "@starling/base";
import { describe, expect, it } from "vitest";
import { holdSession } from "./session.ts";

const periodMs = 1_000;

/** A manager that answers beats while `answers` is true, and says something else every 300 ms while `talks` is. */
class BusyManager {
  readonly #clock: FakeClock;
  answers = true;
  talks = false;
  beats = 0;

  constructor(clock: FakeClock) {
    this.#clock = clock;
  }

  waitReady = async () => undefined;

  call = async (_method: unknown, _request: unknown, { timeoutMs }: { readonly timeoutMs: number }) => {
    this.beats++;
    if (this.answers) return HeartbeatResponse.create({ period: durationOfMs(periodMs) });
    await this.#clock.sleep(timeoutMs);
    throw new SwarmError("DeadlineExceeded", "no answer to a beat");
  };

  async *stream(method: unknown) {
    if (method === Dispatcher.methods.session) yield SessionMessage.create({ sessionId: "s" });
    else yield* this.#assignments();
    await new Promise(() => undefined);
  }

  async *#assignments() {
    for (let told = 0; ; ) {
      await this.#clock.sleep(300);
      if (!this.talks) continue;
      yield AssignmentsMessage.create({ appliesTo: String(told), resultsIn: String(++told) });
    }
  }
}

function begin() {
  const clock = new FakeClock();
  const manager = new BusyManager(clock);
  let end: string | undefined;
  holdSession({
    client: manager as unknown as RpcClient,
    description: NodeDescription.create(),
    previousId: "",
    clock,
    signal: new AbortController().signal,
    onRegistered: () => undefined,
    onMessage: () => undefined,
    onAssignments: () => undefined,
    leaving: async () => undefined,
  }).catch((error: Error) => {
    end = error.message;
  });
  return { clock, manager, ended: () => end };
}

describe("a beat without an answer", () => {
  it("ends the session after a period in which the managers said nothing at all", async () => {
    const { clock, manager, ended } = begin();
    await clock.advance(3 * periodMs);
    manager.answers = false;
    await clock.advance(periodMs);
    expect(ended()).toBeUndefined();
    await clock.advance(periodMs);
    expect(ended()).toBe("no answer to a beat");
  });

  it("is followed by the next at once where they said something else: they are busy", async () => {
    const { clock, manager, ended } = begin();
    manager.talks = true;
    await clock.advance(3 * periodMs);
    manager.answers = false;
    const before = manager.beats;
    await clock.advance(5 * periodMs);
    expect(ended()).toBeUndefined();
    expect(manager.beats - before).toBeGreaterThanOrEqual(4);
    manager.talks = false;
    await clock.advance(2 * periodMs);
    expect(ended()).toBe("no answer to a beat");
  });
});
