import { FakeClock, nullLogger, SwarmError } from "@starling/base";
import { describe, expect, it } from "vitest";
import { Leadership } from "./leadership.ts";

const untilAborted = (signal: AbortSignal) =>
  new Promise<void>((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

describe("Leadership", () => {
  it("serves only between the preparation and the loss, and never runs two terms at once", async () => {
    let running = 0;
    let most = 0;
    const leadership = new Leadership({
      prepare: async () => undefined,
      loops: () => [
        [
          "loop",
          {
            async run(signal) {
              most = Math.max(most, ++running);
              await untilAborted(signal);
              await turn();
              running--;
            },
          },
        ],
      ],
      onBroken: () => undefined,
      clock: new FakeClock(),
      log: nullLogger,
    });
    expect(leadership.leading).toBe(false);
    leadership.lead();
    await turn();
    expect(leadership.leading).toBe(true);
    leadership.follow();
    expect(leadership.leading).toBe(false);
    leadership.lead();
    for (let i = 0; i < 5; i++) await turn();
    expect(leadership.leading).toBe(true);
    await leadership.stop();
    expect(running).toBe(0);
    expect(most).toBe(1);
  });

  it("tells of a loop that breaks, and not of one that ends with its term", async () => {
    const broken: SwarmError[] = [];
    let fail: (error: Error) => void = () => undefined;
    const leadership = new Leadership({
      prepare: async () => undefined,
      loops: () => [
        ["ends", { run: (signal) => untilAborted(signal).then(() => Promise.reject(new Error("aborted"))) }],
        [
          "breaks",
          {
            run: () =>
              new Promise<void>((_resolve, reject) => {
                fail = reject;
              }),
          },
        ],
      ],
      onBroken: (error) => broken.push(error),
      clock: new FakeClock(),
      log: nullLogger,
    });
    leadership.lead();
    await turn();
    fail(new Error("bug"));
    await turn();
    expect(broken.map((error) => error.message)).toEqual(["bug"]);
    await leadership.stop();
    expect(broken.length).toBe(1);
  });

  it.each(["Unavailable", "ResourceExhausted"] as const)("starts over what was refused for now: %s", async (code) => {
    const clock = new FakeClock();
    const broken: SwarmError[] = [];
    const attempts = { prepare: 0, loop: 0 };
    const leadership = new Leadership({
      prepare: async () => {
        if (++attempts.prepare === 1) throw new SwarmError(code, "not now");
      },
      loops: () => [
        [
          "loop",
          {
            run: async (signal) => {
              if (++attempts.loop === 1) throw new SwarmError(code, "not now");
              await untilAborted(signal);
            },
          },
        ],
      ],
      onBroken: (error) => broken.push(error),
      clock,
      log: nullLogger,
    });
    leadership.lead();
    for (let i = 0; i < 3; i++) {
      await turn();
      await clock.advance(100);
    }
    expect(attempts).toEqual({ prepare: 2, loop: 2 });
    expect(leadership.leading).toBe(true);
    await leadership.stop();
    expect(broken).toEqual([]);
  });

  it("tells of a loop that does not end with its term", async () => {
    const clock = new FakeClock();
    const broken: SwarmError[] = [];
    const hanging = new Promise<void>(() => undefined);
    const leadership = new Leadership({
      prepare: async () => undefined,
      loops: () => [
        ["hangs", { run: () => hanging }],
        ["ends", { run: untilAborted }],
      ],
      onBroken: (error) => broken.push(error),
      clock,
      log: nullLogger,
    });
    leadership.lead();
    await turn();
    leadership.follow();
    await clock.advance(9_999);
    expect(broken).toEqual([]);
    await clock.advance(1);
    expect(broken.map((error) => error.message)).toEqual(["leader's loops did not end within 10000 ms: hangs"]);
    await leadership.stop();
  });
});
