import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BlobBoard, type Turn } from "./blob-board.ts";

const words = (turns: readonly Turn[]) => turns.map(({ wish, from }) => `${wish.nodeId} from ${from ?? "registry"}`);
const wishOf = (nodeId: string, blob = "b", notFrom: readonly string[] = []) => ({
  nodeId,
  blob,
  image: "i",
  notFrom,
  registryAtMs: 0,
});

/** A board whose clock stands, in a log-book's words. */
function setUp() {
  const board = new BlobBoard();
  return {
    board,
    wish: (nodeId: string, notFrom: readonly string[] = []) => words(board.wish(wishOf(nodeId, "b", notFrom), 0)),
    hold: (nodeId: string) => words(board.hold(nodeId, "b", 0)),
    end: (nodeId: string) => words(board.end(nodeId, "b", 0)),
    leave: (nodeId: string) => words(board.leave(nodeId, 0)),
  };
}

describe("a blob that many want", () => {
  it("comes from the registry once, and goes on from whoever has it, three at a time", () => {
    const { wish, hold } = setUp();
    expect(wish("n1")).toEqual(["n1 from registry"]);
    for (const id of ["n2", "n3", "n4", "n5", "n6"]) expect(wish(id)).toEqual([]);
    expect(hold("n1")).toEqual(["n2 from n1", "n3 from n1", "n4 from n1"]);
    expect(hold("n2")).toEqual(["n5 from n2", "n6 from n2"]);
    expect(wish("n7")).toEqual(["n7 from n1"]);
  });

  it("goes to the next when the first gives up, leaves, or falls silent", () => {
    const { board, wish, end, leave } = setUp();
    for (const id of ["n1", "n2", "n3", "n4"]) wish(id);
    expect(end("n1")).toEqual(["n2 from registry"]);
    expect(leave("n2")).toEqual(["n3 from registry"]);
    board.goesOn("n3", "b", 10_000);
    expect(words(board.expire(20_000))).toEqual([]);
    expect(words(board.expire(30_000))).toEqual(["n4 from registry"]);
  });

  it("is asked for elsewhere after a node could not give it, and of the registry when all could not", () => {
    const { wish, hold } = setUp();
    hold("n1");
    hold("n2");
    expect(wish("n9")).toEqual(["n9 from n1"]);
    expect(wish("n9", ["n1"])).toEqual(["n9 from n2"]);
    expect(wish("n9", ["n1", "n2"])).toEqual(["n9 from registry"]);
  });

  it("is not had from a node that has left, nor from one that asks for it itself", () => {
    const { wish, hold, leave } = setUp();
    hold("n1");
    leave("n1");
    hold("n2");
    expect(wish("n2")).toEqual(["n2 from registry"]);
    expect(wish("n3")).toEqual([]);
  });
});

describe("after a change of leaders", () => {
  it("nobody goes to the registry for what a node fetches there, though it tells so later than those who wait", () => {
    const { board, hold } = setUp();
    const again = (nodeId: string) => words(board.wish({ ...wishOf(nodeId), registryAtMs: 2_000 }, 0));
    expect([again("n2"), again("n3")]).toEqual([[], []]);
    expect(words(board.fetches("n1", "b", 500))).toEqual([]);
    expect(words(board.expire(10_000))).toEqual([]);
    expect(hold("n1")).toEqual(["n2 from n1", "n3 from n1"]);
  });

  it("one of those who wait goes there when nobody fetches it after all", () => {
    const { board } = setUp();
    for (const id of ["n2", "n3"]) board.wish({ ...wishOf(id), registryAtMs: 2_000 }, 0);
    expect(words(board.expire(1_999))).toEqual([]);
    expect(words(board.expire(2_000))).toEqual(["n2 from registry"]);
  });
});

it("whatever happens, one download of a blob is from the registry at most, and nobody waits for nothing", () => {
  const nodes = fc.constantFrom("n1", "n2", "n3", "n4", "n5");
  const step = fc.tuple(
    fc.constantFrom("wish", "again", "hold", "end", "leave"),
    nodes,
    fc.array(nodes, { maxLength: 2 }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const board = new BlobBoard();
      const waiting = new Set<string>();
      const downloads = new Map<string, string | undefined>();
      const follow = (turns: readonly Turn[]) => {
        for (const { wish, from } of turns) {
          expect(waiting.delete(wish.nodeId)).toBe(true);
          expect(wish.notFrom).not.toContain(from);
          downloads.set(wish.nodeId, from);
        }
        expect([board.downloads, board.waiting]).toEqual([downloads.size, waiting.size]);
        const atRegistry = [...downloads.values()].filter((from) => from === undefined).length;
        expect(atRegistry).toBeLessThanOrEqual(1);
      };
      for (const [what, nodeId, notFrom] of steps) {
        waiting.delete(nodeId);
        downloads.delete(nodeId);
        if (what === "wish" || what === "again") waiting.add(nodeId);
        const turns =
          what === "wish" || what === "again"
            ? board.wish({ ...wishOf(nodeId, "b", notFrom), registryAtMs: what === "again" ? 2_000 : 0 }, 0)
            : what === "hold"
              ? board.hold(nodeId, "b", 0)
              : what === "end"
                ? board.end(nodeId, "b", 0)
                : board.leave(nodeId, 0);
        follow(turns);
      }
      // Before any download counts as silent.
      follow(board.expire(2_000));
      if (waiting.size > 0) expect(downloads.size).toBeGreaterThan(0);
    }),
    { seed: 7, numRuns: 500 },
  );
});
