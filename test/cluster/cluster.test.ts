import { spawn } from "node:child_process";
import { existsSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { exec, type Host, sweep, TestCluster, until } from "./index.ts";
import { statesFolder } from "./paths.ts";

const name = (suffix: string) => `lib-${process.pid}-${suffix}`;

/** Namespaces of the host's first process, as `net:[4026…]`. */
function namespacesOf(host: Host): readonly string[] {
  return ["net", "mnt", "pid", "uts", "ipc"].map((kind) => readlinkSync(`/proc/${host.init.pid}/ns/${kind}`));
}

/** All namespaces that any process of the machine is in. */
function namespacesInUse(): ReadonlySet<string> {
  const found = new Set<string>();
  for (const pid of readdirSync("/proc").filter((entry) => /^\d+$/.test(entry))) {
    try {
      for (const kind of readdirSync(`/proc/${pid}/ns`)) found.add(readlinkSync(`/proc/${pid}/ns/${kind}`));
    } catch {
      // The process ended while we looked.
    }
  }
  return found;
}

describe("a cluster of two hosts", () => {
  let cluster: TestCluster;
  let m1: Host;
  let w1: Host;

  beforeAll(async () => {
    cluster = await TestCluster.create({ name: name("a"), hosts: ["m1", "w1"] });
    m1 = cluster.host("m1");
    w1 = cluster.host("w1");
  });
  afterAll(() => cluster.destroy());

  const reaches = async (from: Host, to: Host) =>
    (await from.exec(["ping", "-c1", "-W1", to.address]).catch(() => ({ code: 1 }))).code === 0;

  it("hosts reach one another by address and find one another by name", async () => {
    expect(await reaches(m1, w1)).toBe(true);
    expect(await m1.mustExec(["getent", "hosts", "w1"])).toContain(w1.address);
    expect((await m1.mustExec("hostname")).trim()).toBe("m1");
  });

  it("exec passes on status, output, input and environment", async () => {
    const result = await m1.exec(["sh", "-c", 'cat; echo "$GREETING" >&2; exit 7'], {
      input: "in",
      env: { GREETING: "hello" },
    });
    expect(result).toEqual({ code: 7, stdout: "in", stderr: "hello\n" });
    expect((await m1.exec(["/no/such/program"])).code).toBe(127);
    expect((await m1.exec("kill -9 $$")).code).toBe(137);
  });

  it("exec returns although a background process keeps the output open", async () => {
    const { stdout } = await m1.exec("sleep 300 & echo $!");
    expect((await m1.exec(["kill", stdout.trim()])).code).toBe(0);
  });

  it("a spawned command gets signals, and ends with the program that started it", async () => {
    const child = await m1.spawn(["sh", "-c", "trap 'exit 5' TERM; echo ready; while :; do sleep 0.01; done"]);
    await new Promise((resolve) => child.child.stdout?.once("data", resolve));
    child.kill();
    expect(await child.exited).toBe(5);

    const marker = `/run/alive-${process.pid}`;
    const orphan = await m1.spawn(["sh", "-c", `touch ${marker}; exec sleep 300`]);
    await until("the command runs", async () => (await m1.exec(["test", "-e", marker])).code === 0);
    orphan.kill("SIGKILL");
    await orphan.exited;
    await until("the command is gone", async () => (await m1.exec(["pgrep", "-x", "sleep"])).code === 1);
  });

  it("has its own /run, /proc, /sys, state folder and cgroups", async () => {
    const marker = `private-${process.pid}`;
    await m1.mustExec(`touch /run/${marker} /var/lib/swarmd/${marker}`);
    expect(existsSync(`/run/${marker}`)).toBe(false);
    expect(existsSync(join(m1.stateFolder, marker))).toBe(true);
    expect((await w1.exec(`ls /run/${marker} /var/lib/swarmd/${marker}`)).code).not.toBe(0);
    expect((await m1.mustExec("ls /sys/class/net")).split("\n")).toContain("eth0");
    expect(await m1.mustExec("cat /proc/1/comm")).toContain("test-host");
    expect(await m1.mustExec("stat -fc %T /sys/fs/bpf")).toContain("bpf_fs");
    const groups = (await m1.mustExec("cat /proc/self/cgroup")).trim().split("\n");
    expect(groups.filter((line) => line.endsWith(`/starling-test-${cluster.name}-m1/init`))).toHaveLength(
      groups.length,
    );
  });

  it("a cut cable stops the traffic until it is healed", async () => {
    await w1.cut();
    expect(await reaches(m1, w1)).toBe(false);
    await w1.heal();
    await until("the host is reached again", () => reaches(m1, w1));
  });

  it("a partition separates its groups, over a restart too, and no one else", async () => {
    await using three = await TestCluster.create({ name: name("p"), hosts: ["m1", "m2", "m3"] });
    const [a, b, c] = three.hosts() as [Host, Host, Host];
    await three.partition([["m1"], ["m2"]]);
    await b.kill();
    await b.start();
    expect(await Promise.all([reaches(a, b), reaches(b, a), reaches(a, c), reaches(c, b)])).toEqual([
      false,
      false,
      true,
      true,
    ]);
    await three.partition([]);
    // A look for the other's MAC that began meanwhile is repeated after a second.
    await until("the other group is reached again", () => reaches(a, b));
  });

  it("a power cut ends every process, frozen and nested ones too, and leaves only the state folder", async () => {
    await w1.mustExec("echo kept > /var/lib/swarmd/kept; mount -t tmpfs none /mnt");
    const nested = await w1.daemon("nested", ["unshare", "--pid", "--fork", "--net", "--mount-proc", "sleep", "301"]);
    const freezer = w1.cgroups.find((folder) => existsSync(join(folder, "freezer.state")));
    if (freezer) {
      await w1.mustExec(`mkdir ${freezer}/child; sleep 302 & echo $! > ${freezer}/child/cgroup.procs`);
      writeFileSync(join(freezer, "child/freezer.state"), "FROZEN");
    }
    expect(nested).toBeGreaterThan(1);
    const before = namespacesOf(w1);
    await w1.kill();

    expect(w1.up).toBe(false);
    const inUse = namespacesInUse();
    expect(before.filter((ns) => inUse.has(ns))).toEqual([]);
    expect(w1.cgroups.filter(existsSync)).toEqual([]);
    const ports = await exec(["nsenter", `--net=/proc/${cluster.switchPid}/ns/net`, "ip", "-o", "link"]);
    expect(ports.stdout).toContain("v-m1");
    expect(ports.stdout).not.toContain("v-w1");
    await expect(w1.exec("true")).rejects.toThrow("host w1 is down");

    await w1.start();
    expect(await w1.mustExec("cat /var/lib/swarmd/kept")).toBe("kept\n");
    expect((await w1.mustExec("mountpoint /mnt || true")).trim()).toBe("/mnt is not a mountpoint");
    await until("the host is reached again", () => reaches(m1, w1));
  });

  it("a daemon outlives its starter, is found by another process, and its orphans are reaped", async () => {
    const pid = await m1.daemon("d", ["sh", "-c", "echo started; sh -c 'exit 0' & exec sleep 303"]);
    const same = TestCluster.open(cluster.name).host("m1");
    expect((await same.exec(["cat", `/proc/${pid}/status`])).stdout).toContain("PPid:\t1\n");
    expect(readFileSync(m1.logFile("d"), "utf8")).toBe("started\n");
    await same.mustExec(["kill", String(pid)]);
    await until("the daemon is reaped", async () => (await same.exec(["test", "-e", `/proc/${pid}`])).code === 1);
  });

  it("refuses a second cluster of the name while its maker lives, and two clusters do not meet", async () => {
    await expect(TestCluster.create({ name: cluster.name, hosts: ["m1"] })).rejects.toThrow(/exists: take it down/);
    await using other = await TestCluster.create({ name: name("b"), hosts: ["m1", "w9"] });
    expect(await reaches(other.host("m1"), other.host("w9"))).toBe(true);
    expect(await reaches(m1, other.host("w9"))).toBe(false);
  });
});

it("names that can't be are refused", async () => {
  await expect(TestCluster.create({ name: "Bad_Name", hosts: ["m1"] })).rejects.toThrow('cluster name "Bad_Name"');
  await expect(TestCluster.create({ name: name("x"), hosts: ["m1", "m1"] })).rejects.toThrow(
    'host name "m1" is given twice',
  );
  expect(() => TestCluster.open("nothing-there")).toThrow(/no cluster "nothing-there"/);
});

it("the janitor removes the cluster of a runner that was killed", async () => {
  const script = `
    import { TestCluster } from "${join(import.meta.dirname, "index.ts")}";
    const cluster = await TestCluster.create({ name: "${name("j")}", hosts: ["m1", "w1"] });
    await cluster.host("m1").daemon("d", ["sleep", "304"]);
    console.log(JSON.stringify(cluster.hosts().flatMap((h) => h.cgroups)));
    await new Promise((resolve) => setTimeout(resolve, 60_000));`;
  const runner = spawn(process.execPath, ["--input-type=module", "-e", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const line = await new Promise<string>((resolve) => runner.stdout?.once("data", (data) => resolve(String(data))));
  const groups = JSON.parse(line) as string[];
  const m1 = TestCluster.open(name("j")).host("m1");
  const before = namespacesOf(m1);
  runner.kill("SIGKILL");
  await new Promise((resolve) => runner.once("exit", resolve));

  expect(groups.filter(existsSync).length).toBeGreaterThan(0);
  expect(await sweep()).toContain(name("j"));
  const inUse = namespacesInUse();
  expect(before.filter((ns) => inUse.has(ns))).toEqual([]);
  expect(groups.filter(existsSync)).toEqual([]);
  expect(existsSync(join(statesFolder, name("j")))).toBe(false);
});
