import { execFileSync } from "node:child_process";
import { mkdir, readdir, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { RaftMemberStatus_Reachability } from "@starling/api";
import { nullLogger } from "@starling/base";
import { afterEach, describe, expect, it } from "vitest";
import { type Files, nodeFiles } from "./disk.ts";
import { TestGroup, type TestManager, until } from "./testing.ts";

let group: TestGroup;
afterEach(() => group?.close());

async function groupOf(count: number, options: Parameters<typeof TestGroup.create>[0] = {}): Promise<TestGroup> {
  group = await TestGroup.create(options);
  for (let i = 1; i <= count; i++) {
    await group.add(`n${i}`);
    await until("a leader is there", () => group.leader);
  }
  await allVote(count);
  return group;
}

const allVote = (count: number) =>
  until("all vote and know it", () =>
    group.managers.every(({ raft }) => raft.members().filter(({ voter }) => voter).length === count),
  );

const proposeMany = (manager: TestManager, count: number, prefix: string) =>
  Promise.all(Array.from({ length: count }, (_, i) => manager.propose(`${prefix}${i}`, 200)));

const allApplied = (managers: readonly TestManager[], expected: readonly string[]) =>
  until("all have applied the same", () => managers.every(({ machine }) => machine.applied.length === expected.length));

/** Restarts what was killed: its machine begins empty and is filled from snapshot and log. */
async function restart(manager: TestManager): Promise<void> {
  manager.machine.applied = [];
  await group.start(manager);
}

/** This machine's disk, whose synced writes do as they are told. */
function odd(write: (go: () => Promise<void>) => Promise<void>): Files {
  return {
    ...nodeFiles,
    async openSynced(path) {
      const file = await nodeFiles.openSynced(path);
      return {
        write: (bytes, position) => write(() => file.write(bytes, position)),
        sync: () => file.sync(),
        close: () => file.close(),
      };
    },
  };
}

describe("a cluster of one", () => {
  it("leads at once, and again after a restart, with all that was acknowledged, in order", async () => {
    const [only] = (await groupOf(1)).managers as [TestManager];
    await proposeMany(only, 100, "x");
    const before = [...only.machine.applied];
    expect(before.length).toBe(100);
    await group.kill(only);
    await restart(only);
    await until("it leads again", () => only.raft.isLeader);
    expect(only.machine.applied).toEqual(before);
    expect(only.leadership).toEqual([true, false, true]);
    await only.propose("later");
    expect(await only.raft.readIndex()).toBe(only.raft.status().appliedIndex);
  });

  it("restarts from a snapshot and the log behind it, which is trimmed", async () => {
    const snapshots = { intervalEntries: 50, keepEntries: 10 };
    const [only] = (await groupOf(1, { snapshots })).managers as [TestManager];
    for (let i = 0; i < 8; i++) await proposeMany(only, 30, `r${i}-`);
    await until("the log is trimmed", () => only.raft.status().firstIndex > 150);
    const before = [...only.machine.applied];
    await group.kill(only);
    await restart(only);
    await until("it leads again", () => only.raft.isLeader);
    expect(only.machine.applied).toEqual(before);
  });

  it("takes a snapshot after so many bytes of log, too, and keeps no more of it than allowed", async () => {
    const snapshots = { intervalBytes: 20_000, keepEntries: 1_000, keepBytes: 5_000 };
    const [only] = (await groupOf(1, { snapshots })).managers as [TestManager];
    for (let i = 0; i < 40; i++) await only.propose(`r${i}`, 1_000);
    await until("the log is trimmed", () => only.raft.status().firstIndex > 10);
    const { firstIndex, lastIndex } = only.raft.status();
    await group.kill(only);
    await restart(only);
    await until("it leads again", () => only.raft.isLeader);
    expect(only.machine.applied.length).toBe(40);
    expect(lastIndex - firstIndex).toBeLessThan(40);
    expect(only.raft.status().firstIndex).toBeGreaterThanOrEqual(firstIndex);
  });

  it("follows settings that change while it runs, and refuses ticks that make no sense", async () => {
    const [only] = (await groupOf(1)).managers as [TestManager];
    await proposeMany(only, 30, "a");
    expect(only.raft.status().firstIndex).toBe(1);
    only.raft.configure({ snapshots: { intervalEntries: 20, keepEntries: 3 } });
    await only.propose("b");
    await until("the log is trimmed", () => only.raft.status().firstIndex > 20);
    only.raft.configure({ ticks: { electionTicks: 20, heartbeatTicks: 5 } });
    const backwards = { electionTicks: 2, heartbeatTicks: 5 };
    expect(() => only.raft.configure({ ticks: backwards })).toThrow(
      /electionTick=2: must be greater than heartbeatTick/,
    );
  });

  it("refuses proposals that no message can carry, with a reason", async () => {
    const [only] = (await groupOf(1)).managers as [TestManager];
    await expect(only.propose("big", 4 * 1024 * 1024)).rejects.toMatchObject({
      code: "InvalidArgument",
      message: expect.stringMatching(/too large/),
    });
    await only.propose("small");
  });
});

describe("three managers", () => {
  it("replicate a thousand proposals in order, many in one write", async () => {
    const { managers } = await groupOf(3);
    await proposeMany(group.leader!, 1_000, "x");
    const expected = group.leader!.machine.applied;
    expect(expected.length).toBe(1_000);
    await allApplied(managers, expected);
    for (const { machine } of managers) expect(machine.applied).toEqual(expected);
  });

  it("elect a new leader in far less than 1.5 s when the leader is killed; it comes back and catches up", async () => {
    const { managers } = await groupOf(3);
    const old = group.leader!;
    await proposeMany(old, 20, "x");
    const started = performance.now();
    await group.kill(old);
    const rest = managers.filter((manager) => manager !== old);
    const next = await until("another leads", () => rest.find(({ raft }) => raft.isLeader));
    expect(performance.now() - started).toBeLessThan(1_500);
    await next.propose("after the kill");
    expect(old.leadership.at(-1)).toBe(false);
    await restart(old);
    await allApplied(managers, next.machine.applied);
    expect(old.machine.applied).toEqual(next.machine.applied);
    expect(old.raft.leaderAddress()).toBe(next.addr);
    await until("it is reachable again", () => next.raft.members().every(({ reachability }) => reachability === 2));
  });

  it("hand leadership over on a stop, without an election timeout", async () => {
    const { managers } = await groupOf(3);
    const old = group.leader!;
    await old.raft.stop();
    const rest = managers.filter((manager) => manager !== old);
    const next = await until("another leads", () => rest.find(({ raft }) => raft.isLeader), 300);
    await next.propose("after the stop");
  });

  it("end what is in flight as unknown when leadership is lost, and take no more", async () => {
    await groupOf(3);
    const old = group.leader!;
    const others = group.managers.filter((manager) => manager !== old);
    for (const manager of others) await group.kill(manager);
    const outcome = old.propose("in flight");
    await expect(outcome).rejects.toMatchObject({
      code: "Unavailable",
      message: expect.stringMatching(/outcome unknown/),
    });
    expect(old.machine.abandoned).toBe(1);
    await expect(old.propose("next")).rejects.toMatchObject({
      code: "Unavailable",
      message: expect.stringMatching(/not the raft leader/),
    });
  });

  it("bring a follower that lags behind the log up to date by a snapshot", async () => {
    const { managers } = await groupOf(3, { snapshots: { intervalEntries: 100, keepEntries: 10 } });
    const leader = group.leader!;
    const lagging = managers.find((manager) => manager !== leader)!;
    await group.kill(lagging);
    for (let i = 0; i < 6; i++) await proposeMany(leader, 60, `r${i}-`);
    await until("the log is trimmed", () => leader.raft.status().firstIndex > 200);
    await restart(lagging);
    await allApplied(managers, leader.machine.applied);
    expect(lagging.machine.applied).toEqual(leader.machine.applied);
    await leader.propose("after the snapshot");
    await until("it goes on by the log", () => lagging.machine.applied.at(-1) === "after the snapshot");
    await group.kill(lagging);
    await restart(lagging);
    await allApplied(managers, leader.machine.applied);
    expect(lagging.machine.applied).toEqual(leader.machine.applied);
  });

  it("take in a newcomer after the log was trimmed, by a snapshot that knows it", async () => {
    await groupOf(1, { snapshots: { intervalEntries: 100, keepEntries: 10 } });
    const leader = group.leader!;
    await proposeMany(leader, 150, "r");
    await until("the log is trimmed", () => leader.raft.status().firstIndex > 50);
    const newcomer = await group.add("n2");
    await allApplied([newcomer], leader.machine.applied);
    await allVote(2);
  });

  it("answer linearizable reads on followers", async () => {
    const { managers } = await groupOf(3);
    const follower = managers.find((manager) => manager !== group.leader)!;
    await group.leader!.propose("written before the read");
    await follower.raft.readIndex();
    expect(follower.machine.applied).toContain("written before the read");
  });
});

describe("membership", () => {
  it("takes a fourth manager in; a removed one learns of it and never comes back under its id", async () => {
    await groupOf(3);
    await proposeMany(group.leader!, 50, "x");
    const fourth = await group.add("n4");
    await allApplied([fourth], group.leader!.machine.applied);
    const leader = group.leader!;
    const leaving = group.managers.find((manager) => manager !== leader && manager !== fourth)!;
    const { raftId } = leaving.raft;
    await leader.raft.removeMember(raftId);
    expect(leader.raft.members().map(({ nodeId }) => nodeId)).not.toContain(leaving.nodeId);
    await until("it knows that it is out", () => leaving.removed);
    await group.kill(leaving);
    await rm(join(group.dir, leaving.nodeId), { recursive: true });
    leaving.machine.applied = [];
    await group.start(leaving, leader.addr);
    expect(leaving.raft.raftId).not.toBe(raftId);
    await allApplied([leaving], leader.machine.applied);
  });

  it("shows a joiner as unknown until it votes, and gives it its vote once it has the log", async () => {
    await groupOf(1);
    const leader = group.leader!;
    await proposeMany(leader, 10, "x");
    const stall = Promise.withResolvers<void>();
    let writes = 0;
    // Its log is made (header, first frame); what the leader sends is not written.
    const hangs = odd(async (go) => {
      if (++writes > 2) await stall.promise;
      await go();
    });
    const joiner = await group.add("n2", hangs);
    const seen = () => leader.raft.members().find(({ nodeId }) => nodeId === "n2");
    await until("it answers", () => seen()?.reachability === RaftMemberStatus_Reachability.UNKNOWN);
    expect(seen()?.voter).toBe(false);
    await leader.propose("it costs no quorum");
    expect(seen()).toMatchObject({ voter: false, reachability: RaftMemberStatus_Reachability.UNKNOWN });
    stall.resolve();
    await allVote(2);
    await until("it is reachable", () => seen()?.reachability === RaftMemberStatus_Reachability.REACHABLE);
    await allApplied([joiner], leader.machine.applied);
  });

  it("tells a member that was removed while it was away", async () => {
    await groupOf(3);
    const leader = group.leader!;
    const away = group.managers.find((manager) => manager !== leader)!;
    await group.kill(away);
    await until("the leader sees it", () => leader.raft.members().some(({ reachability }) => reachability === 1));
    await leader.raft.removeMember(away.raft.raftId);
    away.removed = false;
    await restart(away);
    await until("it knows that it is out", () => away.removed);
  });

  it("refuses a removal that would lose the quorum", async () => {
    await groupOf(3);
    const leader = group.leader!;
    const [dead, other] = group.managers.filter((manager) => manager !== leader) as [TestManager, TestManager];
    await group.kill(dead);
    await until("the leader sees it", () => leader.raft.members().some(({ reachability }) => reachability === 1));
    await expect(leader.raft.removeMember(other.raft.raftId)).rejects.toMatchObject({
      code: "FailedPrecondition",
      message: expect.stringMatching(/loss of quorum/),
    });
  });

  it("keeps a joiner's raft id when it asks again, and takes its new address", async () => {
    await groupOf(2);
    const leader = group.leader!;
    const joiner = group.managers.find((manager) => manager !== leader)!;
    const { raftId } = joiner.raft;
    await group.kill(joiner);
    await rm(join(group.dir, joiner.nodeId), { recursive: true });
    joiner.addr = "127.0.0.1:0";
    joiner.machine.applied = [];
    // Quorum of two: the leader must hold on until the joiner asks.
    const rejoined = group.start(joiner, leader.addr).catch((error: unknown) => error);
    await rejoined;
    const known = leader.raft.members().find(({ nodeId }) => nodeId === joiner.nodeId)!;
    expect(known.raftId).toBe(raftId);
  });

  it("goes on alone from what is committed when told to", async () => {
    await groupOf(3);
    const leader = group.leader!;
    await proposeMany(leader, 10, "x");
    const expected = [...leader.machine.applied];
    for (const manager of group.managers) await group.kill(manager);
    const alone = await TestGroup.create({ stateDir: join(group.dir, leader.nodeId), forceNewCluster: true });
    try {
      const again = await alone.add("n1");
      await until("it leads", () => again.raft.isLeader);
      expect(again.machine.applied).toEqual(expected);
      expect(again.raft.members().length).toBe(1);
      await again.propose("on my own");
    } finally {
      await alone.close();
    }
  });
});

describe("bad input", () => {
  it("refuses to start from a damaged log, naming it", async () => {
    await groupOf(1);
    const [only] = group.managers as [TestManager];
    await group.kill(only);
    const dir = join(group.dir, "n1", "raft", "wal");
    const name = (await readdir(dir)).find((candidate) => candidate.endsWith(".wal"))!;
    await writeFile(join(dir, name), Buffer.from("not a log"));
    await expect(restart(only)).rejects.toMatchObject({ code: "DataLoss", message: new RegExp(name) });
  });

  it("refuses a joiner that cannot be reached at the address it names", async () => {
    await groupOf(1);
    const joining = await TestGroup.create(
      { addr: "127.0.0.1:1", join: { remote: group.leader!.addr } },
      nullLogger,
      group.ca,
    );
    try {
      await expect(joining.add("n9")).rejects.toMatchObject({
        code: "Unavailable",
        message: expect.stringMatching(/127\.0\.0\.1:1/),
      });
    } finally {
      await joining.close();
    }
  }, 15_000);
});

describe("a disk or an entry that fails", () => {
  it.skipIf(process.getuid?.() !== 0)(
    "a leader on a full disk says so and hands over; nothing acknowledged is lost, and it comes back with room",
    async () => {
      await groupOf(2, { segmentBytes: 256 * 1024 });
      const dir = join(group.dir, "n3");
      await mkdir(dir);
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=1200k", "tmpfs", dir]);
      try {
        const full = await group.add("n3");
        await allVote(3);
        const old = group.leader!;
        await old.propose("first");
        await allApplied([full], old.machine.applied);
        await writeFile(join(dir, "ballast"), Buffer.alloc(500 * 1024));
        await until("the other follower is reachable", () => old.raft.members().every((m) => m.reachability === 2));
        // Whoever is chosen: make it the one on the small disk by ending the other for a moment.
        const other = group.managers.find((manager) => manager !== old && manager !== full)!;
        await group.kill(other);
        await until("the leader sees it", () => old.raft.members().some(({ reachability }) => reachability === 1));
        await old.raft.transferLeadership();
        await until("it leads", () => full.raft.isLeader);
        await restart(other);
        await until("all are back", () => full.raft.members().every((m) => m.reachability === 2));
        const acked: string[] = [];
        const writer = (async () => {
          for (let i = 0; ; i++) {
            await full.propose(`w${i}`, 20_000);
            acked.push(`w${i}`);
          }
        })().catch((error: Error) => error);
        await until("the disk is full", () => full.raft.status().diskFull);
        await expect(full.propose("one more")).rejects.toMatchObject({
          code: "Unavailable",
          message: expect.stringMatching(/disk full at/),
        });
        const next = await until("another leads", () => group.managers.find((m) => m !== full && m.raft.isLeader));
        expect(await writer).toMatchObject({ code: "Unavailable" });
        await next.propose("the group goes on");
        for (const id of acked) expect(next.machine.applied).toContain(id);
        await rm(join(dir, "ballast"));
        await until("it has caught up", () => full.machine.applied.includes("the group goes on"));
        expect(full.raft.status().diskFull).toBeUndefined();
        expect(full.fatal).toBeUndefined();
        await group.kill(full);
      } finally {
        execFileSync("umount", ["-l", dir]);
      }
    },
  );

  it("a write that fails stops the node: nothing that is not on disk is acknowledged", async () => {
    let broken = false;
    const failing = odd(async (go) => {
      if (broken) throw Object.assign(new Error("EIO: i/o error, write"), { code: "EIO" });
      await go();
    });
    group = await TestGroup.create();
    const only = await group.add("n1", failing);
    await until("it leads", () => only.raft.isLeader);
    await only.propose("before");
    broken = true;
    await expect(only.propose("lost")).rejects.toMatchObject({ code: "Unavailable" });
    const fatal = await until("it stops", () => only.fatal);
    expect(fatal.message).toMatch(/EIO/);
    await expect(only.propose("later")).rejects.toMatchObject({ code: "Unavailable" });
    expect(only.machine.applied).toEqual(["before"]);
    broken = false;
    await group.kill(only);
    await restart(only);
    await until("it leads again", () => only.raft.isLeader);
    expect(only.machine.applied).toEqual(["before"]);
  });

  it("a leader whose write hangs longer than the election timeout hands over, and nothing is lost", async () => {
    let stall: PromiseWithResolvers<void> | undefined;
    const slow = odd(async (go) => {
      await stall?.promise;
      await go();
    });
    group = await TestGroup.create();
    const old = await group.add("n1", slow);
    await until("it leads", () => old.raft.isLeader);
    for (const name of ["n2", "n3"]) await group.add(name);
    await allVote(3);
    await old.propose("first");
    stall = Promise.withResolvers();
    const pending = old.propose("while it hangs").catch((error: Error) => error);
    const next = await until("another leads", () => group.managers.find((m) => m !== old && m.raft.isLeader), 60_000);
    expect(await pending).toMatchObject({ code: "Unavailable" });
    await next.propose("the group goes on");
    stall.resolve();
    stall = undefined;
    await until("it has caught up", () => old.machine.applied.includes("the group goes on"), 60_000);
    await allApplied(group.managers, next.machine.applied);
    expect(old.fatal).toBeUndefined();
    expect(old.machine.applied).toEqual(next.machine.applied);
  });

  it("an entry that cannot be applied stops the node, with the entry's index", async () => {
    const [only] = (await groupOf(1)).managers as [TestManager];
    await only.propose("poison");
    await group.kill(only);
    only.machine.applyActions = () => {
      throw new Error("no such table");
    };
    await restart(only);
    const fatal = await until("it stops", () => only.fatal);
    expect(fatal.message).toMatch(/raft entry 3 of term 2 cannot be applied: no such table/);
  });
});
