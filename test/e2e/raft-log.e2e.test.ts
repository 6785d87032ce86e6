import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { type Host, until } from "../cluster/index.ts";
import { Stage } from "./stage.ts";

/** What happens to one manager's log, and what the others make of it. */
describe("a manager's raft log", () => {
  let stage: Stage;
  let m1: Host;
  let m3: Host;
  /** Configs that were acknowledged. */
  const written: string[] = [];

  beforeAll(async () => {
    stage = await Stage.open("log", ["m1", "m2", "m3"]);
    m1 = stage.host("m1");
    m3 = stage.host("m3");
  });
  afterAll(() => stage?.close());
  beforeEach(() => stage.showLogsOnFailure());

  async function write(bytes = 100): Promise<void> {
    const name = `config-${written.length}`;
    await stage.ctl(["config", "create", name, "-"], { on: m1, input: Buffer.alloc(bytes, "x") });
    written.push(name);
  }

  async function metric(host: Host, name: string): Promise<number | undefined> {
    const { stdout } = await m1.exec(["curl", "-s", `http://${host.address}:9090/metrics`]);
    const value = new RegExp(`^${name} (\\S+)$`, "m").exec(stdout)?.[1];
    return value === undefined ? undefined : Number(value);
  }

  /** Resolves when the store of a manager itself, not what it asks of the leader, has all that was written. */
  async function caughtUp(host = m3): Promise<void> {
    await until(
      `${host.name} has ${written.length} configs`,
      async () => (await metric(host, "swarm_manager_configs_total")) === written.length,
      { timeoutMs: 30_000, periodMs: 100 },
    );
  }

  const folder = () => join(m3.stateFolder, "raft/wal");
  const newestSegment = () =>
    readdirSync(folder())
      .filter((name) => name.endsWith(".wal"))
      .sort()
      .at(-1)!;

  /** The log with its last byte that is not zero, of a manager that is stopped. */
  function readLog(): { readonly path: string; readonly bytes: Buffer; readonly end: number } {
    const path = join(folder(), newestSegment());
    const bytes = readFileSync(path);
    return { path, bytes, end: bytes.findLastIndex((byte) => byte !== 0) + 1 };
  }

  it("with a torn tail: the manager starts, and gets from the others what it lacks", async () => {
    await write();
    await caughtUp();
    await stage.swarm.endNode(m3);
    const { path, bytes, end } = readLog();
    writeFileSync(path, bytes.fill(0, end - 10));
    await stage.swarm.startNode(m3);
    await stage.swarm.ready([m3], { on: m1 });
    await write();
    await caughtUp();
  });

  it("with a tail that is cut off: likewise", async () => {
    await write();
    await caughtUp();
    await stage.swarm.endNode(m3);
    const { path, bytes, end } = readLog();
    writeFileSync(path, bytes.subarray(0, end - 10));
    await stage.swarm.startNode(m3);
    await stage.swarm.ready([m3], { on: m1 });
    await write();
    await caughtUp();
  });

  it("with damage in its middle: the manager refuses to start, naming file and offset; the others go on", async () => {
    await write();
    await write();
    await caughtUp();
    await stage.swarm.endNode(m3);
    const { path, bytes, end } = readLog();
    const whole = Buffer.from(bytes);
    const middle = Math.floor(end / 2);
    writeFileSync(path, bytes.fill(0x55, middle, middle + 4));
    const pid = await stage.swarm.startNode(m3);
    await until("swarmd has ended", async () => (await m3.exec(["test", "-e", `/proc/${pid}`])).code !== 0);
    const lastWords = stage.log("m3").trim().split("\n").at(-1);
    expect(lastWords).toMatch(
      new RegExp(
        `^swarmd: raft log is damaged: /var/lib/swarmd/raft/wal/${newestSegment()} at offset \\d+: .*; restore`,
      ),
    );
    await write();
    writeFileSync(path, whole);
    await stage.swarm.startNode(m3);
    await stage.swarm.ready([m3], { on: m1 });
    await caughtUp();
  });

  it("on a full disk: writes go on through the others, and it catches up when there is room", async () => {
    const m2 = stage.host("m2");
    await stage.swarm.endNode(m2);
    await m2.mustExec(
      [
        "mkdir -p /run/small",
        "mount -t tmpfs -o size=3m small /run/small",
        "rm -f /var/lib/swarmd/raft/wal/spare.tmp",
        "cp -a /var/lib/swarmd/raft/. /run/small/",
        "mount --bind /run/small /var/lib/swarmd/raft",
      ].join(" && "),
    );
    await stage.swarm.startNode(m2);
    await stage.swarm.ready([m2], { on: m1 });
    for (let i = 0; i < 4; i++) await write(900_000);
    await until("m2 says that its disk is full", async () => (await metric(m2, "swarm_raft_disk_full")) === 1);
    expect(stage.log("m2")).toMatch(
      /disk full at \/var\/lib\/swarmd\/raft\/wal: this manager acknowledges nothing until/,
    );
    await write();
    expect((await stage.swarm.leader({ on: m1 }))?.name).not.toBe("m2");
    await m2.mustExec(["mount", "-o", "remount,size=64m", "/run/small"]);
    await caughtUp(m2);
    expect(await metric(m2, "swarm_raft_disk_full")).toBe(0);
  });
});
