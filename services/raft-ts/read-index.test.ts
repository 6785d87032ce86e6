import { describe, expect, it } from "vitest";
import { bytes, group, groupWithLogs, text } from "./test-group.ts";
import { MessageType, ReadOnlyOption } from "./types.ts";

describe("Raft thesis §6.4: ReadIndex", () => {
  it("answers with the commit index once a quorum confirmed the leader", () => {
    const g = group(3).campaign(1);
    g.propose(1, "a");
    g.lose(MessageType.MsgHeartbeatResp);
    g.at(1).node.readIndex(bytes("q"));
    g.settle();
    expect(g.at(1).reads).toEqual([]);
    g.heal();
    g.pass(1);
    expect(g.at(1).reads).toEqual([{ index: 2, requestCtx: bytes("q") }]);
  });

  it("a deposed leader that doesn't know it answers no reads", () => {
    const g = group(3).campaign(1);
    g.partition([1], [2, 3]);
    g.campaign(2);
    g.propose(2, "newer");
    g.at(1).node.readIndex(bytes("stale"));
    g.pass(30, 1);
    expect(g.at(1).reads).toEqual([]);
  });

  it("works through followers, and keeps the order of several reads", () => {
    const g = group(3).campaign(1);
    for (const q of ["a", "b", "c"]) g.at(3).node.readIndex(bytes(q));
    g.settle();
    expect(g.at(3).reads.map((r) => text(r.requestCtx))).toEqual(["a", "b", "c"]);
    expect(g.at(1).reads).toEqual([]);
  });

  it("waits until the leader has committed an entry of its term", () => {
    const g = groupWithLogs([[1], [1], [1]]);
    g.lose(MessageType.MsgAppResp);
    g.campaign(1);
    g.at(1).node.readIndex(bytes("early"));
    g.pass(3);
    expect(g.at(1).reads).toEqual([]);
    g.heal();
    g.pass(2);
    expect(g.at(1).reads).toEqual([{ index: 2, requestCtx: bytes("early") }]);
  });

  it("a single voter answers at once", () => {
    const g = group(1).campaign(1);
    g.at(1).node.readIndex(bytes("q"));
    g.settle();
    expect(g.at(1).reads).toEqual([{ index: 1, requestCtx: bytes("q") }]);
  });

  it("by lease, no message is needed", () => {
    const g = group(3, { checkQuorum: true, readOnlyOption: ReadOnlyOption.ReadOnlyLeaseBased }).campaign(1);
    g.partition([1], [2], [3]);
    g.at(1).node.readIndex(bytes("q"));
    g.settle();
    expect(g.at(1).reads).toEqual([{ index: 1, requestCtx: bytes("q") }]);
  });
});
