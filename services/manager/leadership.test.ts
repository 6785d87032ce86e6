import { nullLogger, type SwarmError } from "@starling/base";
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
});
