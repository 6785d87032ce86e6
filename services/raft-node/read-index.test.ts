import { FakeClock, SwarmError } from "@starling/base";
import { expect, it } from "vitest";
import { ReadIndex } from "./read-index.ts";

/** Raft as a list of what it was asked; turns of the event loop end when told to. */
function harness() {
  const clock = new FakeClock();
  const asked: Uint8Array[] = [];
  const results: (number | string)[] = [];
  let turn: (() => void)[] = [];
  const state = { applied: 10, running: true };
  let seed = 0;
  const reads = new ReadIndex({
    clock,
    random: () => {
      seed += 0.001;
      return seed % 1;
    },
    nextTurn: (run) => void turn.push(run),
    applied: () => state.applied,
    ask: (context) => {
      if (!state.running) throw new SwarmError("Unavailable", "raft stops");
      asked.push(context);
    },
  });
  const read = () =>
    void reads.read().then(
      (index) => results.push(index),
      (error: SwarmError) => results.push(error.message),
    );
  const endTurn = async () => {
    for (const run of turn.splice(0)) run();
    turn = [];
    await new Promise<void>((resolve) => queueMicrotask(resolve));
  };
  const answer = async (round: number, index: number) => {
    reads.answer({ index, requestCtx: asked[round]! });
    await endTurn();
  };
  return { clock, asked, results, state, reads, read, endTurn, answer };
}

it("shares a round among those who ask in one turn; who comes during it goes with the next", async () => {
  const { asked, results, read, endTurn, answer } = harness();
  read();
  read();
  await endTurn();
  read();
  await endTurn();
  expect(asked.length).toBe(1);
  await answer(0, 10);
  expect(results).toEqual([10, 10]);
  expect(asked.length).toBe(2);
  // An answer to the round before says nothing about what was written since.
  await answer(0, 10);
  expect(results.length).toBe(2);
  await answer(1, 10);
  expect(results).toEqual([10, 10, 10]);
});

it("waits until the index is applied", async () => {
  const { reads, results, read, endTurn, answer } = harness();
  read();
  await endTurn();
  await answer(0, 12);
  reads.appliedTo(11);
  await endTurn();
  expect(results).toEqual([]);
  reads.appliedTo(12);
  await endTurn();
  expect(results).toEqual([12]);
});

it("asks again when no answer comes, and gives up after 5 s", async () => {
  const { clock, asked, results, read, endTurn } = harness();
  read();
  await endTurn();
  await clock.advance(4_000);
  expect(asked.length).toBeGreaterThan(10);
  expect(asked.every((context) => Buffer.compare(context, asked[0]!) === 0)).toBe(true);
  read();
  await clock.advance(1_000);
  await endTurn();
  expect(results).toEqual([expect.stringMatching(/no raft leader confirmed/)]);
  const before = asked.length;
  await endTurn();
  expect(Buffer.compare(asked.at(-1)!, asked[before - 2]!)).not.toBe(0);
});

it("rejects all that wait when raft stops", async () => {
  const { state, reads, results, read, endTurn, answer } = harness();
  read();
  await endTurn();
  await answer(0, 12);
  read();
  await endTurn();
  state.running = false;
  reads.abandon(new SwarmError("Unavailable", "raft stops"));
  read();
  await endTurn();
  await endTurn();
  expect(results).toEqual(["raft stops", "raft stops", "raft stops"]);
});
