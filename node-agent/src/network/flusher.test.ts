import { NetworkStateEndpoint } from "@starling/api";
import { nullLogger } from "@starling/base";
import { expect, it } from "vitest";
import type { FlushDue } from "./flush.ts";
import { Flusher } from "./flusher.ts";

const endpoint = (taskId: string) => NetworkStateEndpoint.create({ taskId, networkId: "net" });
const [a, b, c] = ["a", "b", "c"].map(endpoint) as [NetworkStateEndpoint, NetworkStateEndpoint, NetworkStateEndpoint];

/** A flusher whose looks end when they are told to; `log` has what happens. */
function started() {
  const log: string[] = [];
  const ends: { readonly well: () => void; readonly badly: () => void }[] = [];
  const begun = new Map<number, () => void>();
  const name = (due: FlushDue) => (due === "all" ? "all" : due.map(({ taskId }) => taskId).join("+"));
  const flusher = new Flusher({
    look: (due) => {
      log.push(`look at ${name(due)}`);
      begun.get(ends.length + 1)?.();
      return new Promise<void>((resolve, reject) =>
        ends.push({ well: resolve, badly: () => reject(new Error("refused")) }),
      );
    },
    onRefused: () => log.push("refused"),
    log: nullLogger,
  });
  /** Resolves when so many looks have begun. */
  const looks = (count: number) =>
    ends.length >= count ? Promise.resolve() : new Promise<void>((resolve) => begun.set(count, resolve));
  const applied = (due: FlushDue, what: string) => flusher.applied(due, () => log.push(`${what} is done`));
  return { flusher, log, ends, looks, applied };
}

it("what changed is due once tables are in order, first of all everything", () => {
  const { flusher, log } = started();
  flusher.add([a]);
  expect(flusher.take()).toBe("all");
  flusher.add([a]);
  flusher.add([b]);
  expect(flusher.take()).toEqual([a, b]);
  expect(flusher.take()).toEqual([]);
  expect(log).toEqual([]);
});

it("a look that does not end holds up no change; what falls due meanwhile is the next one's, all at once", async () => {
  const { log, ends, looks, applied } = started();
  applied([a], "first");
  await looks(1);
  applied([b], "second");
  applied([], "third");
  applied([c], "fourth");
  expect(log).toEqual(["look at a"]);
  ends[0]!.well();
  await looks(2);
  expect(log).toEqual(["look at a", "first is done", "look at b+c"]);
  applied("all", "fifth");
  ends[1]!.well();
  await looks(3);
  expect(log.slice(3)).toEqual(["second is done", "third is done", "fourth is done", "look at all"]);
});

it("after a look that failed all is due, with the next tables, and nothing is done before that", async () => {
  const { flusher, log, ends, looks, applied } = started();
  flusher.take();
  applied([a], "first");
  await looks(1);
  const flushed = flusher.flushed();
  ends[0]!.badly();
  await looks(2);
  ends[1]!.well();
  await flushed;
  expect(log).toEqual(["look at a", "refused", "look at "]);
  applied(flusher.take(), "first");
  await looks(3);
  const done = flusher.flushed();
  ends[2]!.well();
  await looks(4);
  ends[3]!.well();
  await done;
  expect(log.slice(3)).toEqual(["look at all", "first is done", "look at "]);
});

it("who waits for what is due does not wait for what comes after", async () => {
  const { flusher, log, ends, looks, applied } = started();
  applied([a], "first");
  await looks(1);
  applied([b], "second");
  const flushed = flusher.flushed().then(() => log.push("flushed"));
  ends[0]!.well();
  await looks(2);
  applied([c], "third");
  ends[1]!.well();
  await flushed;
  expect(log).toContain("second is done");
  expect(log).not.toContain("third is done");
});

it("closing waits for the look that runs, and begins no other", async () => {
  const { flusher, log, ends, looks, applied } = started();
  applied([a], "first");
  await looks(1);
  applied([b], "second");
  const closed = flusher.close().then(() => log.push("closed"));
  ends[0]!.well();
  await closed;
  expect(log).toEqual(["look at a", "first is done", "closed"]);
});
