import { credentials } from "@grpc/grpc-js";
import { FakeClock } from "@starling/base";
import { beforeEach, describe, expect, it } from "vitest";
import { ManagerRoute } from "./leader-route.ts";

let clock: CountingClock;
let leading: AbortSignal | undefined;
let route: ManagerRoute;
beforeEach(() => {
  clock = new CountingClock();
  leading = undefined;
  route = new ManagerRoute({
    ownAddress: "own:1",
    leading: () => leading,
    credentials: credentials.createInsecure(),
    clock,
  });
});

class CountingClock extends FakeClock {
  timers = 0;
  override setTimer(...args: Parameters<FakeClock["setTimer"]>) {
    this.timers++;
    return super.setTimer(...args);
  }
}

const never = new AbortController().signal;
const call = (relayed = false, signal = never) => route.resolve({ relayed, signal });
/** Where a call goes: "self", an address, or the code it is refused with. */
const goesTo = (resolved: ReturnType<typeof call>) =>
  resolved.then(
    (target) => (target === "self" ? target : target.client.address),
    (error: { readonly code: string }) => error.code,
  );

describe("a call finds the leader", () => {
  it("here, or on another manager", async () => {
    route.leaderIs("other:1");
    expect(await goesTo(call())).toBe("other:1");
    leading = never;
    expect(await goesTo(call())).toBe("self");
  });

  it("by waiting for an election, and for this manager's loops to start", async () => {
    const calls = [goesTo(call()), goesTo(call())];
    route.leaderIs("own:1");
    await clock.advance(1_000);
    leading = never;
    await clock.advance(10);
    expect(await Promise.all(calls)).toEqual(["self", "self"]);
  });

  it("or is refused after three seconds", async () => {
    const refused = goesTo(call());
    await clock.advance(2_999);
    const later = goesTo(call());
    await clock.advance(1);
    expect(await refused).toBe("Unavailable");
    route.leaderIs("other:1");
    await clock.advance(10);
    expect(await later).toBe("other:1");
  });

  it("or ends with its caller", async () => {
    const caller = new AbortController();
    const given = goesTo(call(false, caller.signal));
    caller.abort(new DOMException("gone", "AbortError"));
    expect(await given).toBe("Cancelled");
    expect(await goesTo(call(false, caller.signal))).toBe("Cancelled");
  });

  it("once only: a relayed call is not relayed again", async () => {
    route.leaderIs("other:1");
    expect(await goesTo(call(true))).toBe("ResourceExhausted");
  });
});

describe("what was sent to a leader", () => {
  const sentToOld = async () => {
    route.leaderIs("old:1");
    const channel = await call();
    return () => channel !== "self" && channel.signal.aborted;
  };

  it("is given up when another leads, also after a time without one", async () => {
    const givenUp = await sentToOld();
    route.leaderIs(undefined);
    expect(givenUp()).toBe(false);
    route.leaderIs("new:1");
    expect(givenUp()).toBe(true);
    expect(await goesTo(call())).toBe("new:1");
    route.close();
  });

  it("is given up when this manager itself is elected", async () => {
    const givenUp = await sentToOld();
    route.leaderIs("own:1");
    expect(givenUp()).toBe(true);
  });

  it("goes on when that leader was but missed for a while", async () => {
    const givenUp = await sentToOld();
    const before = await call();
    for (let i = 0; i < 3; i++) {
      route.leaderIs(undefined);
      await clock.advance(2_999);
      route.leaderIs("old:1");
      await clock.advance(5_000);
    }
    expect(givenUp()).toBe(false);
    expect(await call()).toBe(before);
    route.close();
  });

  it("is given up after three seconds without a leader", async () => {
    const givenUp = await sentToOld();
    route.leaderIs(undefined);
    await clock.advance(2_999);
    expect(givenUp()).toBe(false);
    await clock.advance(1);
    expect(givenUp()).toBe(true);
  });
});

it("looks once for all that wait, and not at all when nobody does", async () => {
  const calls = Array.from({ length: 1_000 }, () => goesTo(call()));
  clock.timers = 0;
  await clock.advance(500);
  expect(clock.timers).toBe(50);
  route.leaderIs("other:1");
  await clock.advance(10);
  expect(new Set(await Promise.all(calls))).toEqual(new Set(["other:1"]));
  clock.timers = 0;
  await clock.advance(500);
  expect(clock.timers).toBe(0);
});
