import { describe, expect, it } from "vitest";
import { createLogger, FakeClock, newId, SwarmError, seededRandom, WatchQueue } from "./index.ts";

describe("newId", () => {
  it("has Swarm's shape: 25 characters of base 36", () => {
    expect(newId()).toMatch(/^[0-9a-z]{25}$/);
    expect(newId(() => new Uint8Array(17))).toBe(
      BigInt(`0x80${"00".repeat(16)}`)
        .toString(36)
        .slice(1, 26),
    );
  });
});

describe("FakeClock", () => {
  it("fires timers in order of time and lets sleepers go on", async () => {
    const clock = new FakeClock(0);
    const seen: string[] = [];
    clock.setTimer(20, () => seen.push("b"));
    clock.setTimer(10, () => seen.push("a"));
    const slept = clock.sleep(15).then(() => seen.push(`slept ${clock.now()}`));
    await clock.advance(30);
    await slept;
    expect(seen).toEqual(["a", "slept 15", "b"]);
  });

  it("rejects a sleep whose signal aborts, and drops its timer", async () => {
    const clock = new FakeClock();
    const abort = new AbortController();
    const slept = clock.sleep(1_000, abort.signal);
    abort.abort(new Error("stop"));
    await expect(slept).rejects.toThrow("stop");
    expect(clock.pending).toBe(0);
  });
});

describe("WatchQueue", () => {
  it("hands each watcher what was published after it began, in order", async () => {
    const queue = new WatchQueue<number>();
    queue.publish(1);
    const even = queue.watch({ accept: (n) => n % 2 === 0 });
    for (const n of [2, 3, 4]) queue.publish(n);
    const got: number[] = [];
    for await (const n of even) {
      got.push(n);
      if (got.length === 2) break;
    }
    expect(got).toEqual([2, 4]);
    expect(queue.watcherCount).toBe(0);
  });

  it("ends a watcher that lags behind its limit, with an error that says to read again", async () => {
    const queue = new WatchQueue<number>({ limit: 2 });
    const slow = queue.watch();
    for (const n of [1, 2, 3]) queue.publish(n);
    const got: number[] = [];
    await expect(
      (async () => {
        for await (const n of slow) got.push(n);
      })(),
    ).rejects.toThrow(/read again/);
    expect(got).toEqual([1, 2]);
  });

  it("gives readers that wait their values in the order they asked, and the end when it is closed", async () => {
    const queue = new WatchQueue<number>();
    const abort = new AbortController();
    const reader = queue.watch({ signal: abort.signal })[Symbol.asyncIterator]();
    const asked = [reader.next(), reader.next(), reader.next(), reader.next()];
    for (const n of [1, 2, 3]) queue.publish(n);
    abort.abort();
    expect((await Promise.all(asked)).map(({ value }) => value)).toEqual([1, 2, 3, undefined]);
    expect(await reader.next()).toEqual({ done: true, value: undefined });
    expect(queue.watcherCount).toBe(0);
  });

  it("gives what there is at once to who reads by batches, then what comes while he waits, and the end", async () => {
    const queue = new WatchQueue<number>();
    const watcher = queue.watch();
    for (const n of [1, 2, 3]) queue.publish(n);
    const batches = watcher.batches()[Symbol.asyncIterator]();
    expect((await batches.next()).value).toEqual([1, 2, 3]);
    const next = batches.next();
    for (const n of [4, 5]) queue.publish(n);
    expect((await next).value).toEqual([4, 5]);
    const last = batches.next();
    watcher.close();
    expect(await last).toEqual({ done: true, value: undefined });
    expect(queue.watcherCount).toBe(0);
  });

  it("gives batches up to the limit, then the error; who leaves the loop is not told any more", async () => {
    const queue = new WatchQueue<number>({ limit: 2 });
    const slow = queue.watch().batches()[Symbol.asyncIterator]();
    for (const n of [1, 2, 3]) queue.publish(n);
    expect((await slow.next()).value).toEqual([1, 2]);
    await expect(slow.next()).rejects.toThrow(/read again/);
    const left = queue.watch();
    queue.publish(4);
    for await (const batch of left.batches()) if (batch.includes(4)) break;
    expect(queue.watcherCount).toBe(0);
  });

  it("drops what was not read when it is closed", async () => {
    const queue = new WatchQueue<number>();
    const watcher = queue.watch();
    queue.publish(1);
    watcher.close();
    const got: number[] = [];
    for await (const n of watcher) got.push(n);
    expect(got).toEqual([]);
  });
});

describe("SwarmError.from", () => {
  it("keeps a gRPC error's code and details", () => {
    const grpc = Object.assign(new Error("5 NOT_FOUND: no such node"), { code: 5, details: "no such node" });
    expect(SwarmError.from(grpc)).toMatchObject({ code: "NotFound", message: "no such node" });
  });
});

describe("createLogger", () => {
  it("writes logfmt with bound fields and quotes what needs it", () => {
    const lines: string[] = [];
    const log = createLogger({ level: "info", write: (line) => lines.push(line), now: () => 0 });
    log.with({ "task.id": "t1" }).info("task moved", { "state.transition": "starting->running" });
    log.debug("unseen");
    expect(lines).toEqual([
      'time=1970-01-01T00:00:00.000Z level=info msg="task moved" task.id=t1 state.transition=starting->running\n',
    ]);
  });
});

describe("seededRandom", () => {
  it("repeats for one seed", () => {
    const [a, b] = [seededRandom(7), seededRandom(7)];
    expect([a(), a(), a()]).toEqual([b(), b(), b()]);
  });
});
